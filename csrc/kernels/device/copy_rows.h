// Rows gathered and added: gathered where they are, added where they go.
#pragma once

#include <cstring>

#include "kernels/device/parallel.h"

namespace distmlip::kernels {

/// Sixteen bytes that are loaded and stored at once.
struct alignas(16) Quad {
  uint64_t low, high;
};

/// The 16 bits of a bfloat16 number as float, and back, rounded to nearest even.
DISTMLIP_DEVICE inline float from_bfloat16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}
DISTMLIP_DEVICE inline uint16_t to_bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);  // rounding could make it infinite
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// Whether all of these addresses and the width are multiples of `unit`.
inline bool aligned(const void* a, const void* b, int64_t width, uintptr_t unit) {
  const auto bits =
      reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) | static_cast<uintptr_t>(width);
  return bits % unit == 0;
}

template <class Unit, class Backend>
void gather_units(const Backend& backend, int64_t n_rows, int64_t width, const int64_t* rows,
                  const void* from, void* to) {
  const int64_t per_row = width / static_cast<int64_t>(sizeof(Unit));
  const auto* source = static_cast<const Unit*>(from);
  auto* target = static_cast<Unit*>(to);
  backend.for_each(n_rows * per_row, [=] DISTMLIP_DEVICE(int64_t k) {
    target[k] = source[rows[k / per_row] * per_row + k % per_row];
  });
}

/// to[k] = from[rows[k]] for rows of `width` bytes.
template <class Backend>
void gather_rows(const Backend& backend, int64_t n_rows, int64_t width, const int64_t* rows, const void* from,
                 void* to) {
  if (width == 0) return;
  if (aligned(from, to, width, 16)) return gather_units<Quad>(backend, n_rows, width, rows, from, to);
  if (aligned(from, to, width, 8)) return gather_units<uint64_t>(backend, n_rows, width, rows, from, to);
  if (aligned(from, to, width, 4)) return gather_units<uint32_t>(backend, n_rows, width, rows, from, to);
  if (aligned(from, to, width, 2)) return gather_units<uint16_t>(backend, n_rows, width, rows, from, to);
  gather_units<uint8_t>(backend, n_rows, width, rows, from, to);
}

DISTMLIP_DEVICE inline void add_value(float* to, float value) { *to += value; }
DISTMLIP_DEVICE inline void add_value(double* to, double value) { *to += value; }
DISTMLIP_DEVICE inline void add_value(uint16_t* to, uint16_t value) {
  *to = to_bfloat16(from_bfloat16(*to) + from_bfloat16(value));
}

/// `count` values that are loaded and stored at once.
template <class Value, int count>
struct alignas(sizeof(Value) * count) Pack {
  Value of[count];
};

template <int count, class Value, class Backend>
void add_packs(const Backend& backend, int64_t n_rows, int64_t width, const int64_t* rows, const Value* from,
               Value* to) {
  using Packed = Pack<Value, count>;
  const int64_t per_row = width / count;
  const auto* source = reinterpret_cast<const Packed*>(from);
  auto* target = reinterpret_cast<Packed*>(to);
  backend.for_each(n_rows * per_row, [=] DISTMLIP_DEVICE(int64_t k) {
    Packed* place = target + rows[k / per_row] * per_row + k % per_row;
    const Packed values = source[k];
    Packed sum = *place;
    for (int m = 0; m < count; ++m) add_value(sum.of + m, values.of[m]);
    *place = sum;
  });
}

/// to[rows[k]] += from[k] for rows of `width` values: float, double, or bfloat16 as uint16_t. The rows must
/// be different from each other: so no two threads add to the same place, and nothing depends on their order.
template <class Value, class Backend>
void add_rows(const Backend& backend, int64_t n_rows, int64_t width, const int64_t* rows, const Value* from,
              Value* to) {
  if (width == 0) return;
  constexpr int packed = 16 / sizeof(Value);
  if (aligned(from, to, width * static_cast<int64_t>(sizeof(Value)), 16))
    add_packs<packed>(backend, n_rows, width, rows, from, to);
  else
    add_packs<1>(backend, n_rows, width, rows, from, to);
}

}  // namespace distmlip::kernels
