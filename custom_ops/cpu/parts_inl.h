// Parts of vectors for targets without masks: through a vector of elements on the stack, one by
// one. Included within each target's namespace, before its vectors.

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
