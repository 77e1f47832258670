// Connections that wait for a row. The first one that misses a key asks TypeScript, the others of the key
// wait with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "native/net/intrusive_list.h"
#include "native/tunnel/own_sockets.h"
#include "native/tunnel/rows.h"

namespace hadal::tunnel {

struct ParkedTag;

/// What all workers know together about a pod.
struct PodLoad {
  std::atomic<uint32_t> connections{0};
  std::atomic<uint32_t> parked{0};
  /// Workers that still carry something of it.
  std::atomic<uint32_t> workers{0};
  std::shared_ptr<OwnSockets> own_sockets = std::make_shared<OwnSockets>();
};

class Parked : public net::ListHook<ParkedTag> {
 public:
  // Whoever goes through enters `flows`, and ends when the row comes to refuse it.
  virtual void on_outbound_row(const std::shared_ptr<const OutboundRow>& /*row*/, RowFlows& /*flows*/) {}
  virtual void on_inbound_row(const std::shared_ptr<const InboundRow>& /*row*/, RowFlows& /*flows*/) {}

  void count_parked(PodLoad& load) {
    load_ = &load;
    asked_ = true;
    load.parked.fetch_add(1, std::memory_order_relaxed);
  }
  /// Whether it ever had to wait.
  [[nodiscard]] bool asked() const { return asked_; }
  /// Answered, given up, or gone.
  void unpark() {
    unlink();
    if (PodLoad* load = std::exchange(load_, nullptr)) {
      load->parked.fetch_sub(1, std::memory_order_relaxed);
    }
  }

 protected:
  ~Parked() { unpark(); }

 private:
  PodLoad* load_ = nullptr;
  bool asked_ = false;
};

using ParkedList = net::IntrusiveList<Parked, ParkedTag>;

template <typename Key, typename Hash, typename Equal = std::equal_to<>>
class Questions {
 public:
  /// True when nobody waited for the key yet: the caller asks.
  template <typename Lookup>
  bool park(const Lookup& key, Parked& parked) {
    auto found = waiting_.find(key);
    if (found == waiting_.end()) {
      found = waiting_.try_emplace(Key(key)).first;
    }
    const bool first = found->second.empty();
    found->second.push_back(parked);
    return first;
  }

  /// Everybody who waited for the key.
  template <typename Lookup>
  void take(const Lookup& key, ParkedList& into) {
    const auto found = waiting_.find(key);
    if (found != waiting_.end()) {
      into.take_all(found->second);
      waiting_.erase(found);
    }
  }

  /// Forgets keys whose connections have all given up. Once a second.
  void prune() {
    std::erase_if(waiting_, [](auto& item) { return item.second.empty(); });
  }

 private:
  std::unordered_map<Key, ParkedList, Hash, Equal> waiting_;
};

}  // namespace hadal::tunnel
