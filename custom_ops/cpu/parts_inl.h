// What vectors of several targets have in common. Included within each target's namespace, before
// its vectors.

// Squares of doubles and their scales are taken as they are.
struct AlwaysReliable {
  template <int kCount, class Reg>
  static bool AllWithin(const Reg*, Reg, Reg) {
    return true;
  }
  template <class Reg>
  static bool Normal(Reg, Reg) {
    return true;
  }
};

// A value at any address: a copy that the compiler makes one instruction of.
template <class Value, class T>
Value LoadBytes(const T* p) {
  Value value;
  __builtin_memcpy(&value, p, sizeof(value));
  return value;
}

// Parts of vectors without masks: through a vector of elements on the stack, one by one.

template <class Vec, class T>
typename Vec::Reg LoadElements(const T* p, int n) {
  T buffer[Vec::kLanes] = {};
  for (int i = 0; i < Vec::kLanes; ++i) {
    if (i < n) __builtin_memcpy(buffer + i, p + i, sizeof(T));
  }
  return Vec::Load(buffer);
}

template <class Vec, class T>
void StoreElements(T* p, typename Vec::Reg r, int n) {
  T buffer[Vec::kLanes];
  Vec::Store(buffer, r);
  for (int i = 0; i < Vec::kLanes; ++i) {
    if (i < n) __builtin_memcpy(p + i, buffer + i, sizeof(T));
  }
}

// Copies `bytes` bytes, at least 2 and less than twice kMost, by two copies that overlap.
template <uint64_t kMost>
[[gnu::always_inline]] inline void CopyPart(const void* from, void* to, uint64_t bytes) {
  if (bytes >= kMost) {
    struct Chunk {
      char bytes[kMost];
    } first, last;
    const char* end = static_cast<const char*>(from) + bytes - kMost;
    __builtin_memcpy(&first, from, kMost);
    __builtin_memcpy(&last, end, kMost);
    __builtin_memcpy(to, &first, kMost);
    __builtin_memcpy(static_cast<char*>(to) + bytes - kMost, &last, kMost);
  } else if constexpr (kMost > 2) {
    CopyPart<kMost / 2>(from, to, bytes);
  }
}
