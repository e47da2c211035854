#include "native/program.h"

#include <algorithm>

#include "core/error.h"

namespace distmlip::native {

template <class T>
void Program<T>::finish() {
  const size_t n = registers.size();
  // Constants need no gradients, nor does what comes of them alone.
  std::vector<bool> is_variable(n, false);
  is_read.assign(n, false);
  for (const Input& input : inputs) is_variable[static_cast<size_t>(input.of)] = true;
  for (const auto& edge : edge_operators) is_variable[static_cast<size_t>(edge->writes)] = true;
  for (const auto& node : node_operators) {
    bool leads = false;
    for (const auto& read : node->reads) {
      leads = leads || is_variable[static_cast<size_t>(read.of)];
      is_read[static_cast<size_t>(read.of)] = true;
    }
    leads_back.push_back(leads);
    if (leads) is_variable[static_cast<size_t>(node->writes)] = true;
  }
  has_gradient.assign(n, false);
  for (const Output& output : outputs) {
    has_gradient[static_cast<size_t>(output.of)] = true;
    is_read[static_cast<size_t>(output.of)] = true;
  }
  for (size_t k = node_operators.size(); k-- > 0;) {
    leads_back[k] = leads_back[k] && has_gradient[static_cast<size_t>(node_operators[k]->writes)];
    if (!leads_back[k]) continue;
    for (auto& read : node_operators[k]->reads) {
      read.accumulate = has_gradient[static_cast<size_t>(read.of)];
      has_gradient[static_cast<size_t>(read.of)] = true;
    }
  }
  agree_on_edges();
  require_all_read();
}

template <class T>
bool Program<T>::keeps_nothing() const {
  return edge_operators.empty() &&
         std::none_of(registers.begin(), registers.end(), [](const Register& of) { return of.is_saved; });
}

/// What operators on edges have in common.
template <class T>
void Program<T>::agree_on_edges() {
  back_by_sender = !edge_operators.empty() && edge_operators.front()->back_by_sender;
  for (const auto& edge : edge_operators) reads_harmonics = reads_harmonics || edge->reads_harmonics;
  for (const auto& edge : edge_operators)
    if (edge->back_by_sender != back_by_sender)
      invalid("operators on edges that go back in different orders");
  for (const Input& input : inputs)
    if (input.shares >= 0 && !back_by_sender) invalid("'", input.name, "' is read of senders and of atoms");
}

template <class T>
void Program<T>::require_all_read() const {
  for (const auto& edge : edge_operators)
    if (!has_gradient[static_cast<size_t>(edge->writes)])
      invalid("nothing of a stage reads register ", edge->writes, ", which edges write");
  for (const Input& input : inputs)
    if (!input.of_senders && !has_gradient[static_cast<size_t>(input.of)])
      invalid("nothing of a stage reads its input '", input.name, "'");
}

template struct Program<float>;
template struct Program<double>;

}  // namespace distmlip::native
