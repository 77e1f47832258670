// How connections are shared out among the endpoints of a row.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "native/tunnel/rows.h"

namespace hadal::tunnel {
namespace {

OutboundRow row_of(const std::vector<uint32_t>& weights) {
  OutboundRow row;
  for (const uint32_t weight : weights) {
    OutboundEndpoint endpoint;
    endpoint.edge = static_cast<uint32_t>(row.endpoints.size());
    endpoint.weight = weight;
    row.endpoints.push_back(endpoint);
  }
  row.share_out();
  return row;
}

// What the table says of each endpoint, without any luck: the sum over all places.
std::vector<double> shares_of(const OutboundRow& row) {
  std::vector<double> shares(row.endpoints.size(), 0.0);
  for (size_t place = 0; place < row.shares.size(); ++place) {
    const double own = static_cast<double>(row.shares[place].own) / 4294967296.0;
    shares[place] += own / static_cast<double>(row.shares.size());
    shares[row.shares[place].other] += (1.0 - own) / static_cast<double>(row.shares.size());
  }
  return shares;
}

uint64_t next_random(uint64_t& state) {
  uint64_t mixed = state += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

class OutboundRowShares : public testing::TestWithParam<std::vector<uint32_t>> {};

TEST_P(OutboundRowShares, AreTheWeightsExactlyAndInWhatIsPicked) {
  const OutboundRow row = row_of(GetParam());
  double total = 0;
  for (const uint32_t weight : GetParam()) {
    total += weight;
  }
  const std::vector<double> shares = shares_of(row);
  constexpr int kPicks = 200000;
  std::vector<int> picked(row.endpoints.size(), 0);
  uint64_t state = 7;
  for (int i = 0; i < kPicks; ++i) {
    ++picked[row.pick(next_random(state))->edge];
  }
  for (size_t i = 0; i < row.endpoints.size(); ++i) {
    const double expected = GetParam()[i] / total;
    EXPECT_NEAR(shares[i], expected, 1e-8) << "endpoint " << i;
    EXPECT_NEAR(picked[i], expected * kPicks, 6 * std::sqrt(expected * kPicks) + 2) << "endpoint " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, OutboundRowShares,
                         testing::Values(std::vector<uint32_t>{1, 1}, std::vector<uint32_t>{1, 3},
                                         std::vector<uint32_t>{5, 1, 1, 1},
                                         std::vector<uint32_t>{1, 2, 3, 4, 5, 6, 7},
                                         std::vector<uint32_t>{4294967295, 1, 4294967295},
                                         std::vector<uint32_t>(1000, 3)));

TEST(OutboundRowPick, TakesTheOnlyOneAndNoneOfNone) {
  EXPECT_EQ(row_of({}).pick(1), nullptr);
  EXPECT_EQ(row_of({9}).pick(UINT64_MAX)->edge, 0U);
}

TEST(OutboundRowPick, ReachesEveryPlaceAtTheEndsOfItsRange) {
  const OutboundRow row = row_of({1, 1, 1});
  EXPECT_EQ(row.pick(0)->edge, 0U);
  EXPECT_EQ(row.pick(UINT64_MAX)->edge, 2U);
}

}  // namespace
}  // namespace hadal::tunnel
