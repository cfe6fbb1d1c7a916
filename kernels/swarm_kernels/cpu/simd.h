// Sixteen lanes at a time: one register with AVX-512, two with AVX2. Every sum has one fixed order, so that the same
// build gives the same bits whatever surrounds a call. The build passes -ffp-contract=off: only `fma` fuses.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)  // GCC 12 warns of its own header, see its bug 105593
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif

#include <cstdint>

namespace swarm {

constexpr int kLanes = 16;

#if defined(__AVX512F__)

struct Vec { __m512 v; };
struct IntVec { __m512i v; };
struct Bytes { __m512i v; };  // 64 bytes: for each of 16 rows of a matrix the codes of 4 columns

inline Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec load(const uint16_t* bf16) {
    __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bf16));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16))};
}
inline Vec load_half(const uint8_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x.v); }
inline void store(uint16_t* bf16, Vec x) {  // rounds to nearest even and keeps NaN, as torch does
    __m512i bits = _mm512_castps_si512(x.v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
    rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bf16), _mm512_cvtepi32_epi16(rounded));
}
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }  // a * b + c
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
inline Vec nearest(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vec times_power_of_two(Vec a, Vec exponent) { return {_mm512_scalef_ps(a.v, exponent.v)}; }
// Lanes from `first` on, before `last`, of x; `otherwise` elsewhere. Both may lie outside 0..16.
inline Vec select(Vec x, int first, int last, Vec otherwise) {
    const uint32_t before = last >= kLanes ? 0xffffu : last <= 0 ? 0 : (1u << last) - 1;
    const uint32_t from = first <= 0 ? 0xffffu : first >= kLanes ? 0 : 0xffffu << first;
    const __mmask16 mask = __mmask16(before & from);
    return {_mm512_mask_mov_ps(otherwise.v, mask, x.v)};
}
inline __m256 fold(Vec x) { return _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1)); }
inline __m256 fold_max(Vec x) { return _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1)); }

inline IntVec broadcast(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline IntVec operator+(IntVec a, IntVec b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Vec to_float(IntVec x) { return {_mm512_cvtepi32_ps(x.v)}; }
inline IntVec to_int(Vec x) { return {_mm512_cvtps_epi32(x.v)}; }  // to nearest even
inline void store_bytes(int8_t* p, IntVec x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
inline int32_t sum(IntVec x) { return _mm512_reduce_add_epi32(x.v); }  // exact in any order

inline Bytes load_bytes(const uint8_t* p) { return {_mm512_load_si512(p)}; }
inline Bytes low_nibbles(Bytes x) { return {_mm512_and_si512(x.v, _mm512_set1_epi8(15))}; }
inline Bytes high_nibbles(Bytes x) { return {_mm512_and_si512(_mm512_srli_epi16(x.v, 4), _mm512_set1_epi8(15))}; }
inline Bytes table16(const uint8_t* p) {
    return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Bytes lookup(Bytes table, Bytes index) { return {_mm512_shuffle_epi8(table.v, index.v)}; }

// acc += weights of 4 columns (0..15, one row a lane) times the same 4 signed activations `x` for every row.
inline IntVec dot_nibbles(IntVec acc, Bytes weights, int32_t x) {
    return {_mm512_dpbusd_epi32(acc.v, weights.v, _mm512_set1_epi32(x))};
}
// The same for signed weights, which are stored with 128 added: the start takes that off again.
inline IntVec start_biased(int32_t activation_sum) { return broadcast(-128 * activation_sum); }
inline IntVec dot_biased(IntVec acc, Bytes weights, int32_t x) { return dot_nibbles(acc, weights, x); }

// acc += weights of 2 columns in bf16 times a pair of bf16 activations.
inline Vec dot_bf16(Vec acc, Bytes weights, int32_t x) {
#if defined(__AVX512BF16__)
    return {_mm512_dpbf16_ps(acc.v, (__m512bh)weights.v, (__m512bh)_mm512_set1_epi32(x))};
#else
    const __m512i upper = _mm512_set1_epi32(int(0xffff0000));
    __m512i pair = _mm512_set1_epi32(x);
    acc.v = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(weights.v, 16)),
                            _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)), acc.v);
    return {_mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(weights.v, upper)),
                            _mm512_castsi512_ps(_mm512_and_si512(pair, upper)), acc.v)};
#endif
}

// Lane i of the result is the sum of all lanes of x[i].
inline Vec sums(const Vec (&x)[kLanes]) {
    __m512 pairs[8], quads[4], lanes[2];
    for (int i = 0; i < 8; i++)
        pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(x[2 * i].v, x[2 * i + 1].v),
                                 _mm512_unpackhi_ps(x[2 * i].v, x[2 * i + 1].v));
    for (int i = 0; i < 4; i++)
        quads[i] = _mm512_add_ps(_mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44),
                                 _mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
    for (int i = 0; i < 2; i++)
        lanes[i] = _mm512_add_ps(_mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0x88),
                                 _mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0xdd));
    return {
        _mm512_add_ps(_mm512_shuffle_f32x4(lanes[0], lanes[1], 0x88), _mm512_shuffle_f32x4(lanes[0], lanes[1], 0xdd))};
}

#else  // AVX2, FMA and F16C

struct Vec { __m256 a, b; };
struct IntVec { __m256i a, b; };
struct Bytes { __m256i a, b; };

inline Vec broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline __m256 widen_bf16(const uint16_t* p) {
    __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(narrow), 16));
}
inline Vec load(const uint16_t* bf16) { return {widen_bf16(bf16), widen_bf16(bf16 + 8)}; }
inline Vec load_half(const uint8_t* p) {
    auto* halves = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
inline __m256i round_bf16(__m256 x) {
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
}
inline void store(uint16_t* bf16, Vec x) {
    __m256i mixed = _mm256_packus_epi32(round_bf16(x.a), round_bf16(x.b));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bf16), _mm256_permute4x64_epi64(mixed, 0xd8));
}
inline Vec operator+(Vec x, Vec y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline Vec operator-(Vec x, Vec y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline Vec operator*(Vec x, Vec y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline Vec operator/(Vec x, Vec y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline Vec fma(Vec x, Vec y, Vec z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
inline Vec max(Vec x, Vec y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline Vec min(Vec x, Vec y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline Vec abs(Vec x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline Vec nearest(Vec x) {
    constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, mode), _mm256_round_ps(x.b, mode)};
}
inline __m256 power_of_two(__m256 exponent) {  // a whole number in -126..127
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127)), 23));
}
inline Vec times_power_of_two(Vec x, Vec exponent) {
    return {_mm256_mul_ps(x.a, power_of_two(exponent.a)), _mm256_mul_ps(x.b, power_of_two(exponent.b))};
}
inline __m256 select_half(__m256 x, int first, int last, __m256 otherwise, int offset) {
    __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(offset));
    __m256i inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(first), lane),
                                         _mm256_cmpgt_epi32(_mm256_set1_epi32(last), lane));
    return _mm256_blendv_ps(otherwise, x, _mm256_castsi256_ps(inside));
}
inline Vec select(Vec x, int first, int last, Vec otherwise) {
    return {select_half(x.a, first, last, otherwise.a, 0), select_half(x.b, first, last, otherwise.b, 8)};
}
inline __m256 fold(Vec x) { return _mm256_add_ps(x.a, x.b); }
inline __m256 fold_max(Vec x) { return _mm256_max_ps(x.a, x.b); }

inline IntVec broadcast(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline IntVec operator+(IntVec x, IntVec y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
inline Vec to_float(IntVec x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
inline IntVec to_int(Vec x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
inline void store_bytes(int8_t* p, IntVec x) {
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(words, words), 0xd8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(bytes));
}
inline int32_t sum(IntVec x) {
    alignas(32) int32_t lanes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi32(x.a, x.b));
    return lanes[0] + lanes[1] + lanes[2] + lanes[3] + lanes[4] + lanes[5] + lanes[6] + lanes[7];
}

inline Bytes load_bytes(const uint8_t* p) {
    auto* halves = reinterpret_cast<const __m256i*>(p);
    return {_mm256_load_si256(halves), _mm256_load_si256(halves + 1)};
}
inline Bytes low_nibbles(Bytes x) {
    __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
inline Bytes high_nibbles(Bytes x) { return low_nibbles({_mm256_srli_epi16(x.a, 4), _mm256_srli_epi16(x.b, 4)}); }
inline Bytes table16(const uint8_t* p) {
    __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return {both, both};
}
inline Bytes lookup(Bytes table, Bytes index) {
    return {_mm256_shuffle_epi8(table.a, index.a), _mm256_shuffle_epi8(table.b, index.b)};
}
inline __m256i add_pairs(__m256i acc, __m256i words) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
}
inline IntVec dot_nibbles(IntVec acc, Bytes w, int32_t x) {
    __m256i quad = _mm256_set1_epi32(x);
    return {add_pairs(acc.a, _mm256_maddubs_epi16(w.a, quad)), add_pairs(acc.b, _mm256_maddubs_epi16(w.b, quad))};
}
inline IntVec start_biased(int32_t) { return broadcast(0); }
// maddubs saturates at 16 bits, which weights of up to 255 would exceed: it gets |w| and x with the sign of w instead.
inline __m256i signed_products(__m256i biased, __m256i x) {
    __m256i w = _mm256_xor_si256(biased, _mm256_set1_epi8(char(0x80)));
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}
inline IntVec dot_biased(IntVec acc, Bytes w, int32_t x) {
    __m256i quad = _mm256_set1_epi32(x);
    return {add_pairs(acc.a, signed_products(w.a, quad)), add_pairs(acc.b, signed_products(w.b, quad))};
}
inline __m256 dot_bf16_half(__m256 acc, __m256i weights, __m256i pair) {
    const __m256i upper = _mm256_set1_epi32(int(0xffff0000));
    acc = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(weights, 16)),
                          _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)), acc);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(weights, upper)),
                           _mm256_castsi256_ps(_mm256_and_si256(pair, upper)), acc);
}
inline Vec dot_bf16(Vec acc, Bytes w, int32_t x) {
    __m256i pair = _mm256_set1_epi32(x);
    return {dot_bf16_half(acc.a, w.a, pair), dot_bf16_half(acc.b, w.b, pair)};
}

inline Vec sums(const Vec (&x)[kLanes]) {
    __m256 pairs[8], quads[4];
    for (int i = 0; i < 8; i++) {
        __m256 even = fold(x[2 * i]), odd = fold(x[2 * i + 1]);
        pairs[i] = _mm256_add_ps(_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
    }
    for (int i = 0; i < 4; i++)
        quads[i] = _mm256_add_ps(_mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44),
                                 _mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
    auto join = [](__m256 p, __m256 q) {
        return _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
    };
    return {join(quads[0], quads[1]), join(quads[2], quads[3])};
}

#endif

inline Vec zero() { return broadcast(0.0f); }

inline float sum(Vec x) {
    __m256 eight = fold(x);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline float largest(Vec x) {
    __m256 eight = fold_max(x);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// e^x to about 2 units in the last place, after Cephes' expf: a power of two times a polynomial on [-ln 2 / 2, ln 2 /
// 2].
inline Vec exponential(Vec x) {
    x = max(min(x, broadcast(88.0f)), broadcast(-87.0f));
    Vec n = nearest(x * broadcast(1.44269504f));
    Vec r = fma(n, broadcast(-0.693359375f), x);
    r = fma(n, broadcast(2.12194440e-4f), r);
    Vec p = broadcast(1.9875691500e-4f);
    for (float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f})
        p = fma(p, r, broadcast(coefficient));
    p = fma(r * r, p, r + broadcast(1.0f));
    return times_power_of_two(p, n);
}

}  // namespace swarm
