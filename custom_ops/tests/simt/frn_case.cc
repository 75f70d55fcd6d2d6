#include "tests/simt/frn_case.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <type_traits>
#include <vector>

#include "cuda/call.h"
#include "tests/simt/device.h"

namespace frn::cuda {
namespace {

constexpr unsigned char kCanary = 0xa5;
constexpr size_t kLine = 16;

// Conversions of the tests' own, so that a mistake in the kernels' cannot hide itself.
float Widen(float v) { return v; }
float Widen(F16 v) { return ToFloat(v); }
float Widen(BF16 v) { return __uint_as_float(static_cast<uint32_t>(v.bits) << 16); }
template <class T>
T Narrow(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else if constexpr (std::is_same_v<T, F16>) {
    return ToF16(v);
  } else {
    return ToBF16(v);
  }
}

// `count` elements of T, `offset` elements behind a multiple of `alignment` bytes. The page behind
// them cannot be touched; what is left of their own pages is filled with canaries.
template <class T>
class GuardedArray {
 public:
  GuardedArray(int64_t count, int offset, size_t alignment) : count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = (count + offset) * sizeof(T);
    const size_t padded = (bytes + alignment - 1) / alignment * alignment;
    const size_t pages = (padded + 64 + page - 1) / page * page;  // 64: canaries in front
    size_ = pages + page;
    base_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || mprotect(base_ + pages, page, PROT_NONE) != 0) std::abort();
    std::memset(base_, kCanary, pages);
    data_ = reinterpret_cast<T*>(base_ + pages - padded) + offset;
    end_ = base_ + pages;
  }
  ~GuardedArray() { munmap(base_, size_); }
  GuardedArray(const GuardedArray&) = delete;

  T* data() const { return data_; }
  bool CanariesIntact() const {
    return Untouched(base_, reinterpret_cast<const char*>(data_)) &&
           Untouched(reinterpret_cast<const char*>(data_ + count_), end_);
  }

 private:
  static bool Untouched(const char* begin, const char* end) {
    for (const char* p = begin; p < end; ++p) {
      if (static_cast<unsigned char>(*p) != kCanary) return false;
    }
    return true;
  }
  int64_t count_;
  size_t size_;
  char* base_;
  T* data_;
  char* end_;
};

// One of gamma, beta, tau: values as the kernel reads them, and as float64 does.
template <class T>
struct ChannelValues {
  ChannelValues(int64_t channels, bool is_float)
      : is_float(is_float),
        floats(channels, 0, sizeof(float)),
        elements(channels, 0, sizeof(T)),
        exact(channels) {}
  void Set(int64_t channel, float value) {
    floats.data()[channel] = value;
    elements.data()[channel] = Narrow<T>(value);
    exact[channel] = is_float ? value : Widen(elements.data()[channel]);
  }
  ChannelVector vector() const {
    return {is_float ? static_cast<const void*>(floats.data()) : elements.data(), is_float};
  }
  bool is_float;
  GuardedArray<float> floats;
  GuardedArray<T> elements;
  std::vector<double> exact;
};

double UnitRoundoff(ElementType type) {
  return type == ElementType::kFloat ? 0x1p-24 : type == ElementType::kF16 ? 0x1p-11 : 0x1p-8;
}

// The longest chain of float additions behind one element of x's square.
int64_t ChainLength(const FrnCase& test) {
  const Plan& plan = test.plan;
  const int64_t teams = plan.cut.lanes > 0 ? plan.cut.lanes
                        : plan.cut.strip_columns > 0
                            ? int64_t{plan.threads / plan.cut.strip_columns} * plan.cut.cluster
                            : int64_t{plan.threads} * plan.cut.cluster;
  return test.shape.plane() / teams + 48;  // 48: within packs, over lanes, warps and blocks
}

template <class T>
class Runner {
 public:
  explicit Runner(const FrnCase& test)
      : test_(test),
        shape_(Canonical(test.shape)),
        count_(test.shape.elements()),
        x_(count_, test.x_offset, kLine),
        residual_(test.has_residual ? count_ : 0, test.residual_offset, kLine),
        separate_y_(test.in_place || test.over_residual ? 0 : count_, test.y_offset, kLine),
        y_(test.in_place        ? &x_
           : test.over_residual ? &residual_
                                : &separate_y_),
        gamma_(shape_.channels, test.gamma_is_float || sizeof(T) == 4),
        beta_(shape_.channels, test.beta_is_float || sizeof(T) == 4),
        tau_(shape_.channels, test.tau_is_float || sizeof(T) == 4),
        epsilon_(shape_.channels, 0, sizeof(float)),
        original_(count_),
        original_residual_(test.has_residual ? count_ : 0) {
    Fill();
  }

  std::string Run() {
    KernelParams params;
    SetShape(test_.shape, &params);
    params.x = x_.data();
    if (test_.has_residual) params.residual = residual_.data();
    params.y = y_->data();
    params.gamma = gamma_.vector();
    params.beta = beta_.vector();
    if (test_.has_tau) params.tau = tau_.vector();
    if (test_.epsilon_per_channel) params.epsilon = epsilon_.data();
    params.epsilon_value = test_.epsilon_per_channel ? 1e30f : epsilon_.data()[0];
    try {
      Emulate(params, test_.type, test_.plan, test_.schedule);
    } catch (const simt::Error& error) {
      return error.what();
    }
    if (!x_.CanariesIntact()) return "wrote outside of x";
    if (!residual_.CanariesIntact()) return "wrote outside of residual";
    if (!y_->CanariesIntact()) return "wrote outside of y";
    if (!test_.in_place && std::memcmp(x_.data(), original_.data(), count_ * sizeof(T)) != 0) {
      return "changed x";
    }
    const bool keeps_residual = test_.has_residual && !test_.over_residual;
    if (keeps_residual &&
        std::memcmp(residual_.data(), original_residual_.data(), count_ * sizeof(T)) != 0) {
      return "changed residual";
    }
    return Compare();
  }

 private:
  int64_t At(int64_t n, int64_t c, int64_t i) const {
    return ((n * shape_.outer + i / shape_.inner) * shape_.channels + c) * shape_.inner +
           i % shape_.inner;
  }

  // Signed values about an offset; each channel on a scale of its own, the planes' first and last
  // elements large, so that an element left out or taken twice changes the result.
  void Fill() {
    std::mt19937_64 random(test_.seed);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
    for (int64_t c = 0; c < shape_.channels; ++c) {
      gamma_.Set(c, 0.5f + uniform(random));
      beta_.Set(c, normal(random));
      tau_.Set(c, test_.nan_tau && c == 0 ? std::nanf("") : normal(random) - 0.5f);
      epsilon_.data()[c] =
          test_.epsilon_per_channel || c == 0 ? 0.01f + uniform(random) : epsilon_.data()[0];
    }
    const int64_t plane = shape_.plane();
    for (int64_t n = 0; n < shape_.batch; ++n) {
      for (int64_t c = 0; c < shape_.channels; ++c) {
        // The square of a float16 overflows from 256.
        const float scale =
            std::exp2(static_cast<float>((n + 3 * c) % 4 - 1)) * (c % 7 == 6 ? 300.0f : 1.0f);
        for (int64_t i = 0; i < plane; ++i) {
          const bool edge = i < 8 || i >= plane - 8;
          const float v = (normal(random) - 0.4f) * scale * (edge ? 6.0f : 1.0f);
          x_.data()[At(n, c, i)] = Narrow<T>(v);
        }
      }
    }
    if (test_.special != 0.0f) x_.data()[test_.seed % count_] = Narrow<T>(test_.special);
    std::copy_n(x_.data(), count_, original_.data());
    for (int64_t i = 0; test_.has_residual && i < count_; ++i) {
      residual_.data()[i] = Narrow<T>(normal(random) * 2 + 0.7f);
    }
    std::copy_n(residual_.data(), original_residual_.size(), original_residual_.data());
    if (y_ == &separate_y_) std::memset(separate_y_.data(), 0xff, count_ * sizeof(T));
  }

  std::string Compare() {
    const int64_t plane = shape_.plane();
    const double chain = static_cast<double>(ChainLength(test_)) * 0x1p-24;
    for (int64_t n = 0; n < shape_.batch; ++n) {
      for (int64_t c = 0; c < shape_.channels; ++c) {
        double squares = 0.0;
        for (int64_t i = 0; i < plane; ++i) {
          const double v = Widen(original_[At(n, c, i)]);
          squares += v * v;
        }
        const double root = std::sqrt(squares / static_cast<double>(plane) + epsilon_.data()[c]);
        for (int64_t i = 0; i < plane; ++i) {
          const double scaled = gamma_.exact[c] * (Widen(original_[At(n, c, i)]) / root);
          const double added = test_.has_residual ? Widen(original_residual_[At(n, c, i)]) : 0.0;
          double expected = scaled + beta_.exact[c] + added;
          if (test_.has_tau && !(expected >= tau_.exact[c]) && !std::isnan(expected)) {
            expected = tau_.exact[c];
          }
          const double received = Widen(y_->data()[At(n, c, i)]);
          // Relative error of the sum, halved by the root, and of the few operations behind it;
          // then the rounding of y.
          const double tolerance = std::fabs(scaled) * (chain / 2 + 4 * 0x1p-24) +
                                   std::fabs(expected) * (UnitRoundoff(test_.type) + 2 * 0x1p-24) +
                                   (0x1p-25 + std::fabs(added) * 0x1p-24);
          const bool same_nan = std::isnan(expected) && std::isnan(received);
          if (same_nan || std::fabs(received - expected) <= tolerance) continue;
          std::ostringstream text;
          text.precision(9);
          text << "at sample " << n << " channel " << c << " element " << i << ": expected "
               << expected << ", received " << received << ", tolerance " << tolerance;
          return text.str();
        }
      }
    }
    return "";
  }

  const FrnCase& test_;
  const FrnShape shape_;  // canonical
  const int64_t count_;
  GuardedArray<T> x_, residual_, separate_y_;
  GuardedArray<T>* y_;
  ChannelValues<T> gamma_, beta_, tau_;
  GuardedArray<float> epsilon_;
  std::vector<T> original_, original_residual_;
};

}  // namespace

std::string FrnCase::ToString() const {
  std::ostringstream text;
  const char* types[] = {"f32", "f16", "bf16"};
  text << KernelName(plan.kernel) << " " << types[static_cast<int>(type)] << " (" << shape.batch
       << ", " << shape.outer << ", " << shape.channels << ", " << shape.inner << ")"
       << " offsets " << x_offset << " " << y_offset << (in_place ? " in place" : "")
       << (has_residual ? " residual " : "") << residual_offset
       << (over_residual ? " in place" : "") << (has_tau ? " tau" : "")
       << (epsilon_per_channel ? " epsilons" : "") << " special " << special << " blocks "
       << plan.blocks << " threads " << plan.threads << " smem " << plan.smem_bytes << " cluster "
       << plan.cut.cluster << " stage " << plan.cut.stage << " planes " << plan.cut.tile_planes
       << " lanes " << plan.cut.lanes << " columns " << plan.cut.strip_columns << " order "
       << static_cast<int>(schedule.order) << " seed " << seed;
  return text.str();
}

std::string RunCase(const FrnCase& test) {
  switch (test.type) {
    case ElementType::kFloat:
      return Runner<float>(test).Run();
    case ElementType::kF16:
      return Runner<F16>(test).Run();
    case ElementType::kBF16:
      return Runner<BF16>(test).Run();
  }
  return "unknown element type";
}

}  // namespace frn::cuda
