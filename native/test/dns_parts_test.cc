// The parts of the name service that need no socket.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "native/dns/answer_rows.h"
#include "native/dns/fair_queue.h"
#include "native/dns/message.h"

namespace hadal::dns {
namespace {

using namespace std::string_literals;

std::string message(uint16_t id, uint8_t flags, uint8_t code, const std::string& name, char type = 1) {
  std::string out = {static_cast<char>(id >> 8),
                     static_cast<char>(id & 0xff),
                     static_cast<char>(flags),
                     static_cast<char>(code),
                     0,
                     1,
                     0,
                     0,
                     0,
                     0,
                     0,
                     0};
  return out + static_cast<char>(name.size()) + name + "\0\0"s + type + "\0\1"s;
}

TEST(DnsMessage, AnAnswerCountsWhenIdAndQuestionAreOurs) {
  const std::string asked = message(4711, 1, 0, "catalog");
  const std::string_view question = question_of(asked);
  ASSERT_EQ(question.size(), 13u);
  EXPECT_TRUE(is_answer_to(message(4711, 0x81, 0, "catalog"), 4711, question));
  EXPECT_TRUE(is_answer_to(message(4711, 0x81, 3, "CaTaLoG"), 4711, question));
  EXPECT_FALSE(is_answer_to(message(4712, 0x81, 0, "catalog"), 4711, question));
  EXPECT_FALSE(is_answer_to(message(4711, 0x81, 0, "catalof"), 4711, question));
  EXPECT_FALSE(is_answer_to(message(4711, 0x81, 0, "catalog", 28), 4711, question));
  EXPECT_FALSE(is_answer_to(message(4711, 0x01, 0, "catalog"), 4711, question)) << "a query";
  const std::string whole = message(4711, 0x81, 0, "catalog");
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(is_answer_to(std::string_view(whole).substr(0, length), 4711, question)) << length;
  }
}

TEST(DnsMessage, OnlyWhoDoesNotUnderstandTheQuestionMayLeaveItOut) {
  const std::string asked = message(7, 1, 0, "x");
  const auto without = [](char code) { return "\0\7\x81"s + code + "\0\0\0\0\0\0\0\0"s; };
  EXPECT_TRUE(is_answer_to(without(1), 7, question_of(asked)));
  EXPECT_TRUE(is_answer_to(without(4), 7, question_of(asked)));
  EXPECT_FALSE(is_answer_to(without(0), 7, question_of(asked)));
}

TEST(DnsMessage, ANameThatPointsElsewhereIsNoQuestion) {
  std::string looped = message(1, 1, 0, "a");
  looped[kHeaderBytes] = static_cast<char>(0xc0);
  EXPECT_EQ(question_of(looped), "");
  std::string endless = message(1, 1, 0, std::string(63, 'a'));
  for (int i = 0; i < 5; ++i) {
    endless.insert(kHeaderBytes, "\x3f"s + std::string(63, 'b'));
  }
  EXPECT_EQ(question_of(endless), "") << "longer than a name may be";
}

Asked query(uint32_t pod_index, uint64_t id) { return {.pod_index = pod_index, .id = id, .message = "x"}; }

TEST(FairQueue, APodThatCostsMuchWaitsForOthers) {
  FairQueue queue(100);
  for (uint64_t id = 0; id < 90; ++id) {
    ASSERT_TRUE(queue.push(query(1, id)));
    ASSERT_TRUE(queue.push(query(2, 1'000 + id)));
  }
  size_t dear = 0;
  for (int i = 0; i < 60; ++i) {
    const auto asked = queue.take();
    ASSERT_TRUE(asked);
    dear += asked->pod_index == 1 ? 1 : 0;
    queue.charge(asked->pod_index, asked->pod_index == 1 ? 50 : 10);
  }
  EXPECT_GE(dear, 9u);
  EXPECT_LE(dear, 11u)
      << "of equal time, the pod whose queries cost five times as much has a sixth of the turns";
}

TEST(FairQueue, WhoComesLateIsNextAndHasSavedNothing) {
  FairQueue queue(1'000);
  for (uint64_t id = 0; id < 500; ++id) {
    ASSERT_TRUE(queue.push(query(1, id)));
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(queue.take()->pod_index, 1u);
    queue.charge(1, 100);
  }
  for (uint64_t id = 0; id < 100; ++id) {
    ASSERT_TRUE(queue.push(query(2, id)));
  }
  size_t late = 0;
  EXPECT_EQ(queue.take()->pod_index, 2u);
  queue.charge(2, 100);
  for (int i = 0; i < 40; ++i) {
    const auto asked = queue.take();
    late += asked->pod_index == 2 ? 1 : 0;
    queue.charge(asked->pod_index, 100);
  }
  EXPECT_GE(late, 18u);
  EXPECT_LE(late, 22u);
}

TEST(FairQueue, HoldsABoundedNumberOfEachPod) {
  FairQueue queue(3);
  for (uint64_t id = 0; id < 3; ++id) {
    ASSERT_TRUE(queue.push(query(1, id)));
  }
  EXPECT_FALSE(queue.push(query(1, 3)));
  EXPECT_TRUE(queue.push(query(2, 4)));
  Asked answer = query(1, 5);
  answer.kind = Asked::Kind::answer;
  EXPECT_TRUE(queue.push(std::move(answer)));
  queue.remove(1);
  EXPECT_EQ(queue.take()->id, 4u);
  EXPECT_FALSE(queue.take());
  queue.charge(1, 10);
}

TEST(AnswerRows, AreFoundByAllButTheId) {
  AnswerRows rows;
  std::string key;
  AnswerRows::make_key(message(1, 1, 0, "catalog"), Protocol::udp, key);
  rows.put(key, {.message = message(1, 0x81, 0, "catalog")});
  AnswerRows::make_key(message(2, 1, 0, "catalog"), Protocol::udp, key);
  EXPECT_NE(rows.find(key), nullptr);
  AnswerRows::make_key(message(1, 1, 0, "catalog"), Protocol::tcp, key);
  EXPECT_EQ(rows.find(key), nullptr);
  AnswerRows::make_key(message(1, 1, 0, "Catalog"), Protocol::udp, key);
  EXPECT_EQ(rows.find(key), nullptr) << "its letters are repeated as they came";
}

TEST(AnswerRows, HoldABoundedNumberOfBytes) {
  AnswerRows rows;
  std::string key;
  size_t most = 0;
  for (int i = 0; i < 10'000; ++i) {
    AnswerRows::make_key(message(1, 1, 0, "n" + std::to_string(i)), Protocol::udp, key);
    rows.put(key, {.message = std::string(200, 'x')});
    most = std::max(most, rows.size());
    EXPECT_NE(rows.find(key), nullptr) << "the newest is there";
  }
  EXPECT_LT(most, 400u);
  EXPECT_GT(most, 200u);
}

TEST(AnswerRows, AddressesComeInAnyOrderAndAllOfThem) {
  Row row{.message = std::string(12, '\0') + "abcdefgh", .addresses = {12, 14, 16, 18}, .address_bytes = 2};
  ASSERT_TRUE(row.is_sound());
  std::mt19937 random(1);
  std::set<std::string> seen;
  for (int i = 0; i < 500; ++i) {
    row.shuffle(random);
    const std::string told = row.message.substr(12);
    seen.insert(told);
    EXPECT_EQ((std::set{told.substr(0, 2), told.substr(2, 2), told.substr(4, 2), told.substr(6, 2)}),
              (std::set{"ab"s, "cd"s, "ef"s, "gh"s}));
  }
  EXPECT_EQ(seen.size(), 24u);
  row.addresses.push_back(19);
  EXPECT_FALSE(row.is_sound());
}

}  // namespace
}  // namespace hadal::dns
