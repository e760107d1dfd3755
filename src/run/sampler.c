/* Choosing the next token. The order of the steps is that of llama.cpp's default chain:
 *
 *   logit bias, penalties -> top-k -> typical -> top-p -> min-p -> temperature -> draw
 *
 * Each filter sees the probabilities of what the filters before it left, at temperature 1; the
 * temperature shapes only the final draw. (transformers applies the temperature first: with top-p
 * the same settings then keep other tokens.) Temperature 0 takes the most probable token after bias
 * and penalties, the lowest id among equals. */
#include <pare/session.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    int32_t id;
    float logit;
    double key; /* what the present filter sorts by, descending */
} candidate;

struct pare_sampler {
    pare_sampling sampling;
    int64_t vocab;
    candidate *candidates;
    int64_t count;
    int32_t *counts; /* [vocab]: occurrences in the penalty window; all zero between calls */
    int32_t *bias_ids;
    float *bias_values;
    pare_random random;
};

pare_sampling pare_sampling_default(void)
{
    return (pare_sampling){
        .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .penalty_window = 64};
}

static pare_status check_sampling(const pare_sampling *s, int64_t vocab)
{
    if (!(s->temperature >= 0) || !isfinite(s->temperature))
        return pare_fail(PARE_INVALID_ARGUMENT, "temperature %g: use 0 or more", s->temperature);
    if (s->top_k < 0)
        return pare_fail(PARE_INVALID_ARGUMENT, "top-k %d: use 0 (off) or more", s->top_k);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return pare_fail(PARE_INVALID_ARGUMENT, "top-p %g: use more than 0, at most 1 (off)",
                         s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return pare_fail(PARE_INVALID_ARGUMENT, "min-p %g: use 0 (off) to 1", s->min_p);
    if (!(s->typical_p > 0 && s->typical_p <= 1))
        return pare_fail(PARE_INVALID_ARGUMENT, "typical %g: use more than 0, at most 1 (off)",
                         s->typical_p);
    if (!(s->repetition_penalty > 0) || !isfinite(s->repetition_penalty))
        return pare_fail(PARE_INVALID_ARGUMENT, "repetition penalty %g: use more than 0, 1 is off",
                         s->repetition_penalty);
    if (!isfinite(s->presence_penalty) || !isfinite(s->frequency_penalty))
        return pare_fail(PARE_INVALID_ARGUMENT, "a penalty is not a number");
    if (s->penalty_window < -1)
        return pare_fail(PARE_INVALID_ARGUMENT, "penalty window %d: use 0 or more, or -1 for all",
                         s->penalty_window);
    for (int i = 0; i < s->bias_count; i++)
        if (s->bias_ids[i] < 0 || s->bias_ids[i] >= vocab || isnan(s->bias_values[i]))
            return pare_fail(PARE_INVALID_ARGUMENT,
                             "logit bias %d=%g: the id is outside the vocabulary of %lld, or the "
                             "value is not a number",
                             s->bias_ids[i], s->bias_values[i], (long long)vocab);
    return PARE_OK;
}

pare_status pare_sampler_create(const pare_sampling *sampling, int64_t vocab, pare_sampler **out)
{
    pare_sampler *sampler = NULL;
    pare_status status;
    *out = NULL;
    PARE_TRY(check_sampling(sampling, vocab));
    PARE_TRY(pare_allocate(1, sizeof *sampler, "a sampler", &sampler));
    sampler->sampling = *sampling;
    sampler->vocab = vocab;
    sampler->random.state = sampling->seed;
    size_t biases = (size_t)sampling->bias_count;
    PARE_TRY(pare_allocate((size_t)vocab, sizeof *sampler->candidates, "a sampler",
                           &sampler->candidates));
    PARE_TRY(pare_allocate((size_t)vocab, sizeof *sampler->counts, "a sampler", &sampler->counts));
    PARE_TRY(pare_allocate(biases + 1, sizeof *sampler->bias_ids, "a sampler", &sampler->bias_ids));
    PARE_TRY(pare_allocate(biases + 1, sizeof *sampler->bias_values, "a sampler",
                           &sampler->bias_values));
    if (biases) {
        memcpy(sampler->bias_ids, sampling->bias_ids, biases * sizeof *sampler->bias_ids);
        memcpy(sampler->bias_values, sampling->bias_values, biases * sizeof *sampler->bias_values);
    }
    *out = sampler;
    return PARE_OK;
fail:
    pare_sampler_free(sampler);
    return status;
}

void pare_sampler_free(pare_sampler *sampler)
{
    if (!sampler)
        return;
    free(sampler->candidates);
    free(sampler->counts);
    free(sampler->bias_ids);
    free(sampler->bias_values);
    free(sampler);
}

/* ---- logits ---- */

static void apply_bias(pare_sampler *sampler)
{
    for (int i = 0; i < sampler->sampling.bias_count; i++)
        sampler->candidates[sampler->bias_ids[i]].logit += sampler->bias_values[i];
}

/* Repetition penalty as in CTRL (Keskar et al. 2019): a positive logit is divided, a negative one
 * multiplied; presence and frequency penalties as in OpenAI's API. */
static void apply_penalties(pare_sampler *sampler, const int32_t *history, int64_t n)
{
    const pare_sampling *s = &sampler->sampling;
    bool none = s->repetition_penalty == 1 && s->presence_penalty == 0 && s->frequency_penalty == 0;
    int64_t window = s->penalty_window < 0 || s->penalty_window > n ? n : s->penalty_window;
    if (none || window == 0)
        return;
    history += n - window;
    for (int64_t i = 0; i < window; i++)
        if (history[i] >= 0 && history[i] < sampler->vocab)
            sampler->counts[history[i]]++;
    for (int64_t i = 0; i < window; i++) {
        int32_t id = history[i];
        if (id < 0 || id >= sampler->vocab || sampler->counts[id] == 0)
            continue;
        float *logit = &sampler->candidates[id].logit;
        *logit = *logit > 0 ? *logit / s->repetition_penalty : *logit * s->repetition_penalty;
        *logit -= s->presence_penalty + s->frequency_penalty * (float)sampler->counts[id];
        sampler->counts[id] = 0; /* once per token, and zero for the next call */
    }
}

/* The position of the largest logit among the candidates, -1 where none is a number above
 * -infinity. */
static int64_t best(const pare_sampler *sampler)
{
    int64_t found = -1;
    float highest = -INFINITY;
    for (int64_t i = 0; i < sampler->count; i++)
        if (sampler->candidates[i].logit > highest) {
            highest = sampler->candidates[i].logit;
            found = i;
        }
    return found;
}

/* ---- filters ---- */

static int descending(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Moves the k first in order to the front of `all`, in any order among themselves (Hoare's
 * quickselect). */
static void select_first(candidate *all, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        candidate pivot = all[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (descending(&all[i], &pivot) < 0)
                i++;
            while (descending(&all[j], &pivot) > 0)
                j--;
            if (i > j)
                break;
            candidate swapped = all[i];
            all[i++] = all[j];
            all[j--] = swapped;
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

/* Sorts the first k of the candidates by key, without sorting the rest; `sorted` are already in
 * place. */
static void sort_first(pare_sampler *sampler, int64_t sorted, int64_t k)
{
    candidate *rest = sampler->candidates + sorted;
    if (k < sampler->count)
        select_first(rest, sampler->count - sorted, k - sorted);
    qsort(rest, (size_t)(k - sorted), sizeof *rest, descending);
}

static void key_by_logit(pare_sampler *sampler)
{
    for (int64_t i = 0; i < sampler->count; i++)
        sampler->candidates[i].key = sampler->candidates[i].logit;
}

static double sum_of_exp(const pare_sampler *sampler, float maximum)
{
    double sum = 0;
    for (int64_t i = 0; i < sampler->count; i++)
        sum += (double)expf(sampler->candidates[i].logit - maximum);
    return sum;
}

/* Keeps the first candidates by key until their probabilities reach `share`. Sorts in growing
 * pieces: usually few are needed of a large vocabulary. */
static void keep_share(pare_sampler *sampler, double share, float maximum, double total)
{
    double reached = 0;
    int64_t sorted = 0;
    for (int64_t piece = 128; sorted < sampler->count; piece *= 4) {
        int64_t end = piece < sampler->count ? piece : sampler->count;
        sort_first(sampler, sorted, end);
        for (; sorted < end; sorted++) {
            reached += (double)expf(sampler->candidates[sorted].logit - maximum) / total;
            if (reached >= share) {
                sampler->count = sorted + 1;
                return;
            }
        }
    }
}

static void filter_top_k(pare_sampler *sampler, int k)
{
    if (k == 0 || k >= sampler->count)
        return;
    key_by_logit(sampler);
    select_first(sampler->candidates, sampler->count, k);
    sampler->count = k;
}

/* Locally typical sampling (Meister et al. 2022): those whose information is nearest to the
 * entropy, up to the share. */
static void filter_typical(pare_sampler *sampler, double share, float maximum)
{
    if (share >= 1)
        return;
    double total = sum_of_exp(sampler, maximum), log_total = log(total) + maximum, entropy = 0;
    for (int64_t i = 0; i < sampler->count; i++) {
        double log_p = sampler->candidates[i].logit - log_total;
        if (log_p > -INFINITY)
            entropy -= exp(log_p) * log_p;
    }
    for (int64_t i = 0; i < sampler->count; i++)
        sampler->candidates[i].key = -fabs(log_total - sampler->candidates[i].logit - entropy);
    keep_share(sampler, share, maximum, total);
}

static void filter_top_p(pare_sampler *sampler, double share, float maximum)
{
    if (share >= 1)
        return;
    key_by_logit(sampler);
    keep_share(sampler, share, maximum, sum_of_exp(sampler, maximum));
}

static void filter_min_p(pare_sampler *sampler, float least, float maximum)
{
    if (least <= 0)
        return;
    float threshold = maximum + logf(least);
    int64_t kept = 0;
    for (int64_t i = 0; i < sampler->count; i++)
        if (sampler->candidates[i].logit >= threshold)
            sampler->candidates[kept++] = sampler->candidates[i];
    sampler->count = kept;
}

static float highest_logit(const pare_sampler *sampler)
{
    return sampler->candidates[best(sampler)].logit;
}

static int32_t draw(pare_sampler *sampler)
{
    const candidate *all = sampler->candidates;
    double inverse = 1.0 / (double)sampler->sampling.temperature, total = 0, reached = 0;
    float maximum = highest_logit(sampler);
    for (int64_t i = 0; i < sampler->count; i++)
        total += (double)expf((float)((double)(all[i].logit - maximum) * inverse));
    double wanted = pare_random_uniform(&sampler->random) * total;
    int64_t last = 0;
    for (int64_t i = 0; i < sampler->count; i++) {
        double p = (double)expf((float)((double)(all[i].logit - maximum) * inverse));
        if (p > 0)
            last = i;
        reached += p;
        if (wanted < reached)
            return all[i].id;
    }
    return all[last].id; /* rounding left the draw just above the sum */
}

/* The typical filter may drop the most probable token, so each filter looks for the highest logit
 * that is left. */
static int32_t choose(pare_sampler *sampler)
{
    const pare_sampling *s = &sampler->sampling;
    filter_top_k(sampler, s->top_k);
    filter_typical(sampler, s->typical_p, highest_logit(sampler));
    filter_top_p(sampler, s->top_p, highest_logit(sampler));
    filter_min_p(sampler, s->min_p, highest_logit(sampler));
    return draw(sampler);
}

static float log_probability_of(const float *logits, int64_t n, int32_t id)
{
    float maximum = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        maximum = logits[i] > maximum ? logits[i] : maximum;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)expf(logits[i] - maximum);
    return (float)((double)logits[id] - maximum - log(sum));
}

static pare_status check_numbers(const float *logits, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (isnan(logits[i]))
            return pare_fail(
                PARE_FORMAT,
                "the logit of token %lld is not a number: the model's weights are damaged or its "
                "arithmetic overflowed",
                (long long)i);
    return PARE_OK;
}

/* The position of the largest logit, -1 where all are -infinity. */
static int64_t argmax(const float *logits, int64_t n)
{
    int64_t found = -1;
    float highest = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        if (logits[i] > highest) {
            highest = logits[i];
            found = i;
        }
    return found;
}

static bool changes_logits(const pare_sampling *s)
{
    return s->bias_count || s->repetition_penalty != 1 || s->presence_penalty != 0 ||
           s->frequency_penalty != 0;
}

pare_status pare_sampler_next(pare_sampler *sampler, const float *logits, const int32_t *history,
                              int64_t history_count, int32_t *id, float *log_probability)
{
    const pare_sampling *s = &sampler->sampling;
    bool plain = s->temperature == 0 && !changes_logits(s); /* no need to copy the vocabulary */
    pare_status status = check_numbers(logits, sampler->vocab);
    if (status != PARE_OK)
        return status;
    if (!plain) {
        sampler->count = sampler->vocab;
        for (int64_t i = 0; i < sampler->vocab; i++)
            sampler->candidates[i] = (candidate){.id = (int32_t)i, .logit = logits[i]};
        apply_bias(sampler);
        apply_penalties(sampler, history, history_count);
    }
    int64_t first = plain ? argmax(logits, sampler->vocab) : best(sampler);
    if (first < 0)
        return pare_fail(PARE_FORMAT, "all logits are -infinity: no token can be chosen");
    *id = s->temperature == 0 ? (int32_t)first : choose(sampler);
    if (log_probability)
        *log_probability = log_probability_of(logits, sampler->vocab, *id);
    return PARE_OK;
}
