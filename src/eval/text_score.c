#include "eval/generate.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Texts have some dozen tokens: comparing all pairs is fast enough. */
static int64_t repeated(const int32_t *ids, int64_t count, int n)
{
    int64_t found = 0;
    for (int64_t i = 1; i + n <= count; i++)
        for (int64_t j = 0; j < i; j++)
            if (memcmp(ids + i, ids + j, (size_t)n * sizeof *ids) == 0) {
                found++;
                break;
            }
    return found;
}

double pare_text_repetition(const int32_t *ids, int64_t count, int n)
{
    return count < n ? 0 : (double)repeated(ids, count, n) / (double)(count - n + 1);
}

double pare_text_distinct(const int32_t *ids, int64_t count, int n)
{
    return 1 - pare_text_repetition(ids, count, n);
}

double pare_text_score(const pare_text_scores *scores, int count, int without)
{
    double loss = 0, agreement = 0, fresh = 0, distinct = 0;
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (i == without)
            continue;
        loss += scores[i].base_log_probability - scores[i].log_probability;
        agreement += scores[i].agreement;
        fresh += 1 - scores[i].repetition;
        distinct += 0.5 * (scores[i].distinct_1 + scores[i].distinct_2);
        n++;
    }
    if (!n)
        return NAN;
    double fluency = exp(loss > 0 ? -loss / n : 0);
    return 5 * pow(fluency, 0.4) * pow(agreement / n, 0.3) * pow(fresh / n, 0.2) *
           pow(distinct / n, 0.1);
}

double pare_text_score_values(const pare_text_scores *scores, int count, double *values)
{
    double whole = pare_text_score(scores, count, -1);
    for (int i = 0; i < count; i++)
        values[i] =
            count > 1 ? count * whole - (count - 1) * pare_text_score(scores, count, i) : whole;
    return whole;
}
