#include "eval/loss.h"

#include "base/half.h"

/* exp(x) for x <= 0, within 2 units in the last place; 0 below -87. Cephes' scheme: x = n ln 2 + r,
 * a polynomial of r, 2^n put into the exponent. Written so that the compiler can vectorize a loop
 * of it: vocabularies are wide, and libm's expf took longer than the model. */
static inline float exp_of_negative(float x)
{
    const float round =
        12582912.0f; /* 1.5 2^23: adding it leaves the nearest integer in the low bits */
    float clamped = x > -87.0f ? x : -87.0f;
    float shifted = clamped * 1.44269504f + round, n = shifted - round;
    float r = clamped - n * 0.693359375f +
              n * 2.12194440e-4f; /* ln 2 in two parts: the first product is exact */
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    float power = pare_bits_to_f32((pare_f32_to_bits(shifted) << 23) + 0x3f800000u);
    return x > -87.0f ? p * power : 0.0f;
}

double pare_kl_divergence(const float *p, double p_log_sum, const float *q, double q_log_sum,
                          int64_t n)
{
    enum { LANES = 16 };
    double sums[LANES] = {0},
           offset = q_log_sum - p_log_sum; /* log p - log q = x_p - x_q + offset */
    float log_sum = (float)p_log_sum;
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        float probability[LANES];
        for (int j = 0; j < LANES; j++)
            probability[j] = exp_of_negative(p[i + j] - log_sum);
        for (int j = 0; j < LANES; j++)
            sums[j] += (double)probability[j] * ((double)p[i + j] - (double)q[i + j] + offset);
    }
    for (int64_t i = whole; i < n; i++) {
        float probability = exp_of_negative(p[i] - log_sum);
        if (probability > 0)
            sums[0] += (double)probability * ((double)p[i] - (double)q[i] + offset);
    }
    for (int j = 1; j < LANES; j++)
        sums[0] += sums[j];
    return sums[0];
}

static int64_t argmax(const float *x, int64_t n, float maximum)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] == maximum)
            return i;
    return -1;
}

static void one_position(const pare_loss *loss, int64_t i)
{
    const pare_kernels *k = loss->kernels;
    const float *x = loss->logits + i * loss->vocab;
    int32_t target = loss->targets[i];
    float maximum, base_maximum;
    double log_sum = k->log_sum_exp(x, loss->vocab, &maximum);
    loss->nll[i] = target >= 0 ? log_sum - (double)x[target] : 0;
    if (!loss->base)
        return;
    const float *base = loss->base + i * loss->vocab;
    double base_log_sum = k->log_sum_exp(base, loss->vocab, &base_maximum);
    loss->base_nll[i] = target >= 0 ? base_log_sum - (double)base[target] : 0;
    loss->kld[i] = pare_kl_divergence(base, base_log_sum, x, log_sum, loss->vocab);
    loss->same[i] = argmax(x, loss->vocab, maximum) == argmax(base, loss->vocab, base_maximum);
}

static void share(void *argument, int index, int count)
{
    const pare_loss *loss = argument;
    pare_range mine = pare_share(loss->count, 1, index, count);
    for (int64_t i = mine.first; i < mine.last; i++)
        one_position(loss, i);
}

void pare_loss_compute(pare_pool *pool, const pare_loss *loss)
{
    pare_pool_run(pool, share, (void *)loss);
}
