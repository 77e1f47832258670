#include "native/net/pod_file.h"

#include <gtest/gtest.h>

namespace hadal::net {
namespace {

constexpr const char* kPath = "/etc/resolv.conf";

TEST(PodFile, OnAFileSystemThatAsksSomebodyIsToldByTheMounts) {
  const std::string root = "1 0 0:1 / / rw,relatime shared:1 master:2 - overlay overlay rw\n";
  const auto at = [](const std::string& point, const std::string& type) {
    return "2 1 0:2 / " + point + " rw - " + type + " source rw\n";
  };
  EXPECT_EQ(unanswering_file_system(root + at(kPath, "ext4"), kPath), "");
  EXPECT_EQ(unanswering_file_system(root + at(kPath, "fuse.x"), kPath), "fuse.x");
  EXPECT_EQ(unanswering_file_system(root + at("/etc", "nfs4"), kPath), "nfs4");
  EXPECT_EQ(unanswering_file_system(root + at("/etcetera", "fuse"), kPath), "");
  EXPECT_EQ(unanswering_file_system(root + at("/data", "fuse"), kPath), "");
  EXPECT_EQ(unanswering_file_system(root + at("/etc", "fuse") + at(kPath, "ext4"), kPath), "");
  EXPECT_EQ(unanswering_file_system(root + at(kPath, "ext4") + at(kPath, "fuse"), kPath), "fuse");
  EXPECT_EQ(unanswering_file_system("1 0 0:1 / / rw - fuse.overlay x rw\n", kPath), "fuse.overlay");
  for (const char* broken : {"", "\n\n", "1 2 3", "1 0 0:1 / / rw", "1 0 0:1 / / rw -", "          "}) {
    EXPECT_EQ(unanswering_file_system(broken, kPath), "") << broken;
  }
}

}  // namespace
}  // namespace hadal::net
