// Names that LAMMPS's headers mention, where a package installs these headers without those of {fmt}. No function here is called.
#pragma once

#include <string>

namespace fmt {
class string_view;
class format_args;
template <typename... Args, typename S>
const format_args& make_args_checked(const S&, Args&&...);
template <typename S, typename... Args>
std::string format(const S&, Args&&...);
}  // namespace fmt
