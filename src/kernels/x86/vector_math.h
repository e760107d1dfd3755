/* exp and its relatives on vectors, included after vector_avx2.h or vector_avx512.h. The
 * polynomials were fitted for the least maximal relative error (Lawson's reweighting, in 40
 * digits); tests/kernels/check_ops.c holds the measured bounds. */
#ifndef PARE_KERNELS_X86_VECTOR_MATH_H
#define PARE_KERNELS_X86_VECTOR_MATH_H

/* e^x. x = n ln 2 + r, |r| <= ln(2)/2; the polynomial's relative error is 3e-9, the result's at
 * most 1 ulp. Right at the ends: 0 below -104, infinity above 88.73; NaN stays NaN. */
static inline vec v_exp(vec x)
{
    x = v_min(v_set1(89.0f), v_max(v_set1(-105.0f), x));
    vec n = v_round(x * v_set1(0x1.715476p+0f));
    vec r = v_fnma(n, v_set1(0x1.62e4p-1f), x); /* 15 bits of ln 2: the product is exact */
    r = v_fnma(n, v_set1(0x1.7f7d1cp-20f), r);
    vec p = v_fma(v_set1(0x1.6a23d2p-10f), r, v_set1(0x1.123a20p-7f));
    p = v_fma(p, r, v_set1(0x1.5558f2p-5f));
    p = v_fma(p, r, v_set1(0x1.555492p-3f));
    p = v_fma(p, r, v_set1(0x1.fffffcp-2f));
    vec e = v_fma(r * r, p, r) + v_set1(1.0f);
    return v_scale_by_power(e, n);
}

/* 2^x for x below 128: within 1 ulp of 2^x (the polynomial: 2e-9), 0 below -150; NaN stays NaN. No
 * range reduction: x minus its whole part is exact. */
static inline vec v_exp2(vec x)
{
    x = v_max(v_set1(-160.0f), x);
    vec n = v_round(x), r = x - n;
    vec p = v_fma(v_set1(0x1.41fb82p-13f), r, v_set1(0x1.5f3eacp-10f));
    p = v_fma(p, r, v_set1(0x1.3b2d4ep-7f));
    p = v_fma(p, r, v_set1(0x1.c6aee8p-5f));
    p = v_fma(p, r, v_set1(0x1.ebfbdcp-3f));
    p = v_fma(p, r, v_set1(0x1.62e430p-1f));
    return v_scale_by_power(v_fma(p, r, v_set1(1.0f)), n);
}

static inline vec v_silu(vec x)
{
    return x / (v_set1(1.0f) + v_exp(-x));
}

/* As x sigmoid(2u), see ref/ops.c. */
static inline vec v_gelu_tanh(vec x)
{
    vec u2 = v_set1(1.5957691f) * x * v_fma(v_set1(0.044715f) * x, x, v_set1(1.0f));
    return x / (v_set1(1.0f) + v_exp(-u2));
}

/* x Phi(x), with Phi(-z) = erfc(z / sqrt 2) / 2 and erfc(s) = t P(t) exp(-s^2), t = 1 / (1 + 0.35
 * s): P of degree 9 has a relative error of 8e-9 for s in 0..10.5. s^2 = x^2 / 2 is carried in two
 * floats, else exp would magnify its rounding by s^2. */
static inline vec v_gelu(vec x)
{
    vec z = v_min(v_set1(16.0f), v_abs(x));
    vec square = z * z, rest = v_fma(z, z, -square);
    vec t = v_set1(1.0f) / v_fma(v_set1(0.35f * 0.70710678f), z, v_set1(1.0f));
    vec p = v_fma(v_set1(0.03908231f), t, v_set1(-0.1627336f));
    p = v_fma(p, t, v_set1(0.1906899f));
    p = v_fma(p, t, v_set1(-0.040437683f));
    p = v_fma(p, t, v_set1(0.09801065f));
    p = v_fma(p, t, v_set1(0.13989525f));
    p = v_fma(p, t, v_set1(0.15340886f));
    p = v_fma(p, t, v_set1(0.18740214f));
    p = v_fma(p, t, v_set1(0.19720186f));
    p = v_fma(p, t, v_set1(0.19748032f));
    vec half = v_set1(0.5f);
    vec e = v_exp(-half * square);
    vec below = half * t * p * v_fnma(half * rest, e, e); /* Phi(-z) */
    return x * v_select_negative(x, below, v_set1(1.0f) - below);
}

#endif
