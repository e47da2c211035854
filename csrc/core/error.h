// Messages of the exceptions that reach the user: value, limit, remedy.
#pragma once

#include <sstream>
#include <stdexcept>

namespace distmlip {

/// Throws std::invalid_argument with the parts joined as text.
template <class... Parts>
[[noreturn]] void invalid(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

}  // namespace distmlip
