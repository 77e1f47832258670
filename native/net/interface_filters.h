// BPF programs at an interface, as filters of traffic control: they stay while nobody runs, and go with the
// interface.
#pragma once

#include <cstdint>
#include <optional>

#include "native/base/failure.h"
#include "native/net/rtnetlink.h"

namespace hadal::net {

enum class FilterSide : uint8_t { from_interface, to_interface };

/// The id of the program that stands in our place; nullopt: none.
[[nodiscard]] Result<std::optional<uint32_t>> find_filter(NetlinkSocket& socket, uint32_t interface_index,
                                                          FilterSide side);
/// Takes the place of what stands there, without a gap.
[[nodiscard]] Result<void> put_filter(NetlinkSocket& socket, uint32_t interface_index, FilterSide side,
                                      int program_fd);
/// Also when there is none.
[[nodiscard]] Result<void> delete_filter(NetlinkSocket& socket, uint32_t interface_index, FilterSide side);

/// Whether this message tells that a filter, or all of an interface, went.
[[nodiscard]] bool tells_lost_filter(const nlmsghdr* message);

}  // namespace hadal::net
