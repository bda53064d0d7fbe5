// What the code for host and device uses of the standard library. NVRTC has none, so it is given
// just that: types, and functions that are its own by another name.
#pragma once

#if defined(__CUDACC_RTC__)

using int8_t = signed char;
using int16_t = short;
using int32_t = int;
using int64_t = long long;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;

namespace std {
using ::int16_t;
using ::int32_t;
using ::int64_t;
using ::uint16_t;
using ::uint32_t;
using ::uint8_t;
using size_t = decltype(sizeof(0));
using ptrdiff_t = decltype(static_cast<char*>(nullptr) - static_cast<char*>(nullptr));
using ::ceil;
using ::fabs;
using ::floor;
using ::lrint;
using ::rint;
}  // namespace std

#define DBL_EPSILON 2.2204460492503131e-16

#else

#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

#endif
