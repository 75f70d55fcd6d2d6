// NEON kernels for aarch64, where NEON, fused multiply-add and half conversion are always there: 4
// floats or 2 doubles per register.

#include "cpu/kernels.h"

#if defined(__aarch64__) && defined(__ARM_NEON)

#include <arm_neon.h>

namespace frn {
namespace {

#include "cpu/parts_inl.h"

struct FloatVec {
  using Elem = float;
  using Reg = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kRegisters = 32;
  static constexpr bool kSortsBF16 = false;  // to widen or narrow four in order is one instruction

  static Reg Zero() { return vdupq_n_f32(0); }
  static Reg Set(float e) { return vdupq_n_f32(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  static Reg Add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static Reg Mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static Reg Div(Reg a, Reg b) { return vdivq_f32(a, b); }
  static Reg Sqrt(Reg a) { return vsqrtq_f32(a); }
  static Reg Max(Reg a, Reg t) { return vmaxq_f32(a, t); }  // NaN if one is; vmaxnm would drop it
  static Reg Totals(const Reg* r) {
    return vpaddq_f32(vpaddq_f32(r[0], r[1]), vpaddq_f32(r[2], r[3]));
  }
  static void Transpose(Reg* r) {
    const float32x4x2_t ab = vtrnq_f32(r[0], r[1]), cd = vtrnq_f32(r[2], r[3]);
    for (int i = 0; i < 2; ++i) {
      r[i] = vcombine_f32(vget_low_f32(ab.val[i]), vget_low_f32(cd.val[i]));
      r[i + 2] = vcombine_f32(vget_high_f32(ab.val[i]), vget_high_f32(cd.val[i]));
    }
  }
  static Reg Permute(Reg a, const int32_t* lanes) {
    const uint32x4_t bytes =
        vmlaq_n_u32(vdupq_n_u32(0x03020100), vreinterpretq_u32_s32(vld1q_s32(lanes)), 0x04040404);
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(a), vreinterpretq_u8_u32(bytes)));
  }
  // 8 bits of the instruction, which the architecture defines to the bit, and two Newton steps.
  static Reg InvSqrt(Reg a) {
    Reg r = vrsqrteq_f32(a);
    r = vmulq_f32(r, vrsqrtsq_f32(vmulq_f32(a, r), r));
    return vmulq_f32(r, vrsqrtsq_f32(vmulq_f32(a, r), r));
  }
  static Reg InvSqrtOfAny(Reg a) {  // the steps make NaN of infinity
    const Reg r = InvSqrt(a);
    return vbslq_f32(vceqq_f32(r, r), r, vrsqrteq_f32(a));
  }
  template <int kCount>
  static bool AllWithin(const Reg* a, Reg min, Reg max) {
    uint32x4_t outside = vdupq_n_u32(0);
    for (int i = 0; i < kCount; ++i) {
      outside = vorrq_u32(outside, vorrq_u32(vcltq_f32(a[i], min), vcgtq_f32(a[i], max)));
    }
    return vmaxvq_u32(outside) == 0;
  }
  static Reg Abs(Reg a) { return vabsq_f32(a); }
  static Reg Less(Reg a, Reg b, Reg x, Reg y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
  static bool Normal(Reg s, Reg g) {
    const Reg magnitude = vabsq_f32(s);
    const uint32x4_t small = vcltq_f32(magnitude, Set(kMinNormal));
    const uint32x4_t lost = vbicq_u32(small, vceqq_f32(g, Zero()));
    return vmaxvq_u32(vorrq_u32(lost, vcgtq_f32(magnitude, Set(kMaxFloat)))) == 0;
  }
  static Reg LoadSums(const double* p, double factor) {
    const float32x2_t low = vcvt_f32_f64(vmulq_n_f64(vld1q_f64(p), factor));
    return vcvt_high_f32_f64(low, vmulq_n_f64(vld1q_f64(p + 2), factor));
  }

  static Reg Load(const float* p) { return vld1q_f32(p); }
  static void Store(float* p, Reg r) { vst1q_f32(p, r); }

  static uint16x4_t LoadBits(const void* p) { return vld1_u16(static_cast<const uint16_t*>(p)); }
  static void StoreBits(void* p, uint16x4_t bits) { vst1_u16(static_cast<uint16_t*>(p), bits); }
  static Reg Load(const F16* p) { return vcvt_f32_f16(vreinterpret_f16_u16(LoadBits(p))); }
  static void Store(F16* p, Reg r) { StoreBits(p, vreinterpret_u16_f16(vcvt_f16_f32(r))); }
  static Reg Load(const BF16* p) { return vreinterpretq_f32_u32(vshll_n_u16(LoadBits(p), 16)); }
  // To nearest, ties to even; no NaN that comes here has so long a payload that it would carry
  // (kernels.h). vtst is -1 where the last kept bit is 1, and vaddhn keeps the upper halves.
  static void Store(BF16* p, Reg r) {
    const uint32x4_t bits = vreinterpretq_u32_f32(r);
    const uint32x4_t odd = vtstq_u32(bits, vdupq_n_u32(0x10000));
    StoreBits(p, vaddhn_u32(vsubq_u32(bits, odd), vdupq_n_u32(0x7fff)));
  }

  template <class T>
  static Reg LoadPart(const T* p, int n) {
    return LoadElements<FloatVec>(p, n);
  }
  template <class T>
  static void StorePart(T* p, Reg r, int n) {
    StoreElements<FloatVec>(p, r, n);
  }
  template <class T>
  static Reg LoadLast(const T* end, int n) {
    const int32x4_t lane = {0, 1, 2, 3};
    const uint32x4_t kept = vcgeq_s32(lane, vdupq_n_s32(kLanes - n));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(Load(end - kLanes)), kept));
  }
  template <class T>
  static void Stream(T* p, Reg r) {
    Store(p, r);
  }
  static void Fence() {}

  struct Sum {
    float64x2_t low, high;

    void Clear() { low = high = vdupq_n_f64(0); }
    void Add(Reg r) {
      low = vaddq_f64(low, vcvt_f64_f32(vget_low_f32(r)));
      high = vaddq_f64(high, vcvt_high_f64_f32(r));
    }
    double Total() const { return vaddvq_f64(vaddq_f64(low, high)); }
    void AddTo(double* p) const {
      vst1q_f64(p, vaddq_f64(vld1q_f64(p), low));
      vst1q_f64(p + 2, vaddq_f64(vld1q_f64(p + 2), high));
    }
    void AddPartTo(double* p, int n) const {
      double lanes[kLanes];
      vst1q_f64(lanes, low);
      vst1q_f64(lanes + 2, high);
      for (int i = 0; i < n; ++i) p[i] += lanes[i];
    }
  };
};

struct DoubleVec : AlwaysReliable {
  using Elem = double;
  using Reg = float64x2_t;
  static constexpr int kLanes = 2;
  static constexpr int kRegisters = 32;

  static Reg Zero() { return vdupq_n_f64(0); }
  static Reg Set(double e) { return vdupq_n_f64(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return vfmaq_f64(c, a, b); }
  static Reg Add(Reg a, Reg b) { return vaddq_f64(a, b); }
  static Reg Mul(Reg a, Reg b) { return vmulq_f64(a, b); }
  static Reg Div(Reg a, Reg b) { return vdivq_f64(a, b); }
  static Reg Sqrt(Reg a) { return vsqrtq_f64(a); }
  static Reg Max(Reg a, Reg t) { return vmaxq_f64(a, t); }
  static Reg Totals(const Reg* r) { return vpaddq_f64(r[0], r[1]); }
  static Reg InvSqrt(Reg a) { return vdivq_f64(Set(1), vsqrtq_f64(a)); }
  static Reg InvSqrtOfAny(Reg a) { return InvSqrt(a); }
  static Reg Abs(Reg a) { return vabsq_f64(a); }
  static Reg Less(Reg a, Reg b, Reg x, Reg y) { return vbslq_f64(vcltq_f64(a, b), x, y); }
  static Reg LoadSums(const double* p, double factor) { return vmulq_n_f64(Load(p), factor); }

  static Reg Load(const double* p) { return vld1q_f64(p); }
  static void Store(double* p, Reg r) { vst1q_f64(p, r); }
  static Reg LoadPart(const double* p, int) { return vcombine_f64(vld1_f64(p), vdup_n_f64(0)); }
  static Reg LoadLast(const double* end, int) {
    return vcombine_f64(vdup_n_f64(0), vld1_f64(end - 1));
  }
  static void StorePart(double* p, Reg r, int) { vst1_f64(p, vget_low_f64(r)); }  // n is 1
  static void Stream(double* p, Reg r) { Store(p, r); }
  static void Fence() {}

  struct Sum {
    Reg all;

    void Clear() { all = Zero(); }
    void Add(Reg r) { all = vaddq_f64(all, r); }
    double Total() const { return vaddvq_f64(all); }
    void AddTo(double* p) const { Store(p, vaddq_f64(Load(p), all)); }
    void AddPartTo(double* p, int) const { p[0] += vgetq_lane_f64(all, 0); }
  };
};

#include "cpu/kernels_inl.h"

}  // namespace

const KernelTable* NeonKernels() { return &kTable; }

}  // namespace frn

#else  // not an aarch64 build

namespace frn {
const KernelTable* NeonKernels() { return nullptr; }
}  // namespace frn

#endif
