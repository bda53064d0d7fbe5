// Arguments of the kernels in sdk/native/cuda, packed for a launch.
#pragma once

#include <nanobind/nanobind.h>

void bind_rows(nanobind::module_& module);
