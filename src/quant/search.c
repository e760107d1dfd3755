#include "quant/search.h"

#include <math.h>
#include <string.h>

#include "quant/formats.h"

/* The value of the largest magnitude, with its sign; the first of equals. */
static float signed_extreme(int n, const float *x)
{
    float extreme = 0, magnitude = 0;
    for (int i = 0; i < n; i++) {
        if (fabsf(x[i]) > magnitude) {
            magnitude = fabsf(x[i]);
            extreme = x[i];
        }
    }
    return extreme;
}

float pare_mean_square(const float *x, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / (float)n;
}

void pare_importance_weights(const float *x, const float *importance, float mean_square,
                             float *weights, int n)
{
    for (int i = 0; i < n; i++)
        weights[i] = importance[i] * sqrtf(mean_square + x[i] * x[i]);
}

uint16_t pare_round_extreme(const float *x, int half, uint8_t *codes)
{
    float scale = signed_extreme(32, x) / (float)-half, inverse = pare_inverse(scale);
    for (int i = 0; i < 32; i++)
        codes[i] = (uint8_t)pare_truncate_code(x[i] * inverse + ((float)half + 0.5f), 2 * half - 1);
    return pare_scale_to_f16(scale);
}

uint16_t pare_round_range(const float *x, int top, uint8_t *codes, float *minimum)
{
    float low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float scale = (high - low) / (float)top, inverse = pare_inverse(scale);
    *minimum = low;
    for (int i = 0; i < 32; i++)
        codes[i] = (uint8_t)pare_truncate_code((x[i] - low) * inverse + 0.5f, top);
    return pare_scale_to_f16(scale);
}

/* Sums of the least-squares problem x ~ scale * code. */
typedef struct fit {
    float x_code, code_code;
} fit;

static fit fit_symmetric(int n, int half, const float *x, const float *weights, float inverse)
{
    fit sums = {0, 0};
    for (int i = 0; i < n; i++) {
        float code = (float)pare_clamp(pare_nearest(inverse * x[i]), -half, half - 1);
        float weight = weights ? weights[i] : x[i] * x[i];
        sums.x_code += weight * x[i] * code;
        sums.code_code += weight * code * code;
    }
    return sums;
}

float pare_search_symmetric(int n, int half, const float *x, const float *weights, uint8_t *codes)
{
    float extreme = signed_extreme(n, x);
    if (fabsf(extreme) < PARE_GROUP_EPSILON) {
        memset(codes, 0, (size_t)n);
        return 0;
    }
    float best_inverse = (float)-half / extreme;
    fit sums = fit_symmetric(n, half, x, weights, best_inverse);
    float scale = sums.code_code != 0 ? sums.x_code / sums.code_code : 0;
    float best = scale * sums.x_code; /* what the fit takes off the error */
    for (int i = -9; i <= 9; i++) {
        if (i == 0)
            continue;
        float inverse = -((float)half + 0.1f * (float)i) / extreme;
        sums = fit_symmetric(n, half, x, weights, inverse);
        if (sums.code_code > 0 && sums.x_code * sums.x_code > best * sums.code_code) {
            scale = sums.x_code / sums.code_code;
            best = scale * sums.x_code;
            best_inverse = inverse;
        }
    }
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(half + pare_clamp(pare_nearest(best_inverse * x[i]), -half, half - 1));
    return scale;
}

/* One round of moving codes to where the rest of the group wants them; returns how many moved. */
static int descend(int n, int low, int high, const float *x, const float *weights, int *codes,
                   fit *sums, bool strictly_positive)
{
    int moved = 0;
    for (int i = 0; i < n; i++) {
        float weight = weights ? weights[i] : x[i] * x[i], code = (float)codes[i];
        fit rest = {sums->x_code - weight * x[i] * code, sums->code_code - weight * code * code};
        if (!(rest.x_code > 0) || (strictly_positive && !(rest.code_code > 0)))
            continue;
        int new_code = pare_clamp(pare_nearest(x[i] * rest.code_code / rest.x_code), low, high);
        if (new_code == codes[i])
            continue;
        rest.x_code += weight * x[i] * (float)new_code;
        rest.code_code += weight * (float)new_code * (float)new_code;
        if (rest.code_code > 0 && rest.x_code * rest.x_code * sums->code_code >
                                      sums->x_code * sums->x_code * rest.code_code) {
            codes[i] = new_code;
            *sums = rest;
            moved++;
        }
    }
    return moved;
}

enum { DESCENT_ROUNDS = 5 };

float pare_search_symmetric_descent(int n, int half, const float *x, uint8_t *codes)
{
    int signed_codes[PARE_SEARCH_MAX];
    float extreme = signed_extreme(n, x);
    if (fabsf(extreme) < PARE_GROUP_EPSILON) {
        memset(codes, 0, (size_t)n);
        return 0;
    }
    float inverse = (float)-half / extreme;
    for (int i = 0; i < n; i++)
        signed_codes[i] = pare_clamp(pare_nearest(inverse * x[i]), -half, half - 1);
    fit sums = fit_symmetric(n, half, x, NULL, inverse);
    for (int round = 0; round < DESCENT_ROUNDS &&
                        descend(n, -half, half - 1, x, NULL, signed_codes, &sums, false);)
        round++;
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(signed_codes[i] + half);
    return sums.code_code > 0 ? sums.x_code / sums.code_code : 0;
}

static void round_affine(int n, int top, const float *x, float minimum, float inverse,
                         uint8_t *codes)
{
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)pare_clamp(pare_nearest(inverse * (x[i] - minimum)), 0, top);
}

static float affine_error(int n, const float *x, const float *weights, const uint8_t *codes,
                          float scale, float minimum, bool absolute)
{
    float error = 0;
    for (int i = 0; i < n; i++) {
        float difference = scale * (float)codes[i] + minimum - x[i];
        error += weights[i] * (absolute ? fabsf(difference) : difference * difference);
    }
    return error;
}

/* The least-squares scale and minimum (at most 0) for given codes; false where they do not
 * determine them. */
static bool fit_affine(int n, const float *x, const float *weights, const uint8_t *codes,
                       float sum_w, float sum_x, float *scale, float *minimum)
{
    float sum_c = 0, sum_cc = 0, sum_xc = 0;
    for (int i = 0; i < n; i++) {
        float code = (float)codes[i], weight = weights[i];
        sum_c += weight * code;
        sum_cc += weight * code * code;
        sum_xc += weight * code * x[i];
    }
    float determinant = sum_w * sum_cc - sum_c * sum_c;
    if (!(determinant > 0))
        return false;
    *scale = (sum_w * sum_xc - sum_x * sum_c) / determinant;
    *minimum = (sum_cc * sum_x - sum_c * sum_xc) / determinant;
    if (*minimum > 0) {
        *minimum = 0;
        *scale = sum_xc / sum_cc;
    }
    return true;
}

float pare_search_affine(int n, int top, const float *x, const float *weights, uint8_t *codes,
                         float *minimum, float first, float step, int steps, bool absolute)
{
    uint8_t trial[PARE_SEARCH_MAX];
    float low = x[0], high = x[0], sum_w = weights[0], sum_x = weights[0] * x[0];
    for (int i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        sum_w += weights[i];
        sum_x += weights[i] * x[i];
    }
    low = low > 0 ? 0 : low;
    if (!(high - low > 1e-36f)) { /* the inverse scale must stay finite */
        memset(codes, 0, (size_t)n);
        *minimum = -low;
        return 0;
    }
    float inverse = (float)top / (high - low), scale = 1 / inverse, best_low = low;
    round_affine(n, top, x, low, inverse, codes);
    float best = affine_error(n, x, weights, codes, scale, low, absolute);
    for (int i = 0; i <= steps; i++) {
        float trial_scale, trial_low;
        inverse = (first + step * (float)i + (float)top) / (high - best_low);
        round_affine(n, top, x, best_low, inverse, trial); /* around the best minimum so far */
        if (!fit_affine(n, x, weights, trial, sum_w, sum_x, &trial_scale, &trial_low))
            continue;
        float error = affine_error(n, x, weights, trial, trial_scale, trial_low, absolute);
        if (error < best) {
            memcpy(codes, trial, (size_t)n);
            best = error;
            scale = trial_scale;
            best_low = trial_low;
        }
    }
    *minimum = -best_low;
    return scale;
}

static float positive_error(int n, int top, const float *x, const float *weights, float inverse)
{
    float scale = 1 / inverse, error = 0;
    for (int i = 0; i < n; i++) {
        int code = pare_nearest(inverse * x[i]);
        float difference = x[i] - scale * (float)(code < top ? code : top);
        error += weights[i] * difference * difference;
    }
    return error;
}

float pare_search_positive(int n, int top, const float *x, const float *weights, uint8_t *codes)
{
    int trial[PARE_SEARCH_MAX];
    float high = 0;
    for (int i = 0; i < n; i++)
        high = x[i] > high ? x[i] : high;
    if (high < PARE_GROUP_EPSILON) {
        memset(codes, 0, (size_t)n);
        return 0;
    }
    float inverse = (float)top / high, best = positive_error(n, top, x, weights, inverse);
    for (int i = -4; i <= 4; i++) {
        if (i == 0)
            continue;
        float candidate = (0.1f * (float)i + (float)top) / high,
              error = positive_error(n, top, x, weights, candidate);
        if (error < best) {
            best = error;
            inverse = candidate;
        }
    }
    fit sums = {0, 0};
    for (int i = 0; i < n; i++) {
        trial[i] = pare_clamp(pare_nearest(inverse * x[i]), 0, top);
        sums.x_code += weights[i] * x[i] * (float)trial[i];
        sums.code_code += weights[i] * (float)trial[i] * (float)trial[i];
    }
    for (int round = 0;
         round < DESCENT_ROUNDS && descend(n, 0, top, x, weights, trial, &sums, true);)
        round++;
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)trial[i];
    return sums.code_code > 0 ? sums.x_code / sums.code_code : 0;
}
