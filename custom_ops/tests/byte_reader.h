// Values one after the other in a file's bytes. Of the standard library alone: a program for
// another system includes it, too.

#ifndef FRN_ONNX_TESTS_BYTE_READER_H_
#define FRN_ONNX_TESTS_BYTE_READER_H_

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

// Throws std::runtime_error where the file has not got what is asked for.
class ByteReader {
 public:
  explicit ByteReader(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("the file cannot be opened");
    data_.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }

  std::vector<char> Bytes(size_t count) {
    if (count > data_.size() - at_) throw std::runtime_error("the file is too short");
    at_ += count;
    return {data_.begin() + (at_ - count), data_.begin() + at_};
  }
  template <class V>
  V Value() {
    V value;
    std::memcpy(&value, Bytes(sizeof(V)).data(), sizeof(V));
    return value;
  }

 private:
  std::vector<char> data_;
  size_t at_ = 0;
};

#endif  // FRN_ONNX_TESTS_BYTE_READER_H_
