#include "native/net/pod_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

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
  EXPECT_EQ(unanswering_file_system(root + at(kPath, "ext4") + at("/etc", "fuse"), kPath), "fuse");
  EXPECT_EQ(unanswering_file_system("1 0 0:1 / / rw - fuse.overlay x rw\n", kPath), "fuse.overlay");
  for (const char* broken : {"", "\n\n", "1 2 3", "1 0 0:1 / / rw", "1 0 0:1 / / rw -", "          "}) {
    EXPECT_EQ(unanswering_file_system(broken, kPath), "") << broken;
  }
}

/// A pod whose only process is the test: a directory in place of a cgroup.
class ReadPodFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-pod-file-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    std::filesystem::create_directories(directory_ + "/pod/container");
    std::ofstream(directory_ + "/pod/cgroup.procs").flush();
    std::ofstream(directory_ + "/pod/container/cgroup.procs") << getpid() << "\n";
    path_ = directory_ + "/resolv.conf";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Result<std::string> read() { return read_pod_file(directory_ + "/pod", path_); }

  std::string directory_;
  std::string path_;
};

TEST_F(ReadPodFileTest, IsAFileOfBoundedSize) {
  std::ofstream(path_) << "search shop\n";
  EXPECT_EQ(read().value_or(""), "search shop\n");
  std::ofstream(path_) << std::string(100'000, '#');
  EXPECT_EQ(read().value_or("").size(), 65'536u);
}

TEST_F(ReadPodFileTest, IsNothingElse) {
  const auto refused = [&] {
    const auto file = read();
    std::filesystem::remove(path_);
    return file ? "read: " + file->substr(0, 20) : file.error().message;
  };
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_TRUE(refused().ends_with("is no regular file"));
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  EXPECT_TRUE(refused().ends_with("is no regular file"));
  ASSERT_EQ(symlink("/dev/zero", path_.c_str()), 0);
  EXPECT_TRUE(refused().ends_with("is no regular file"));
  ASSERT_EQ(symlink("/proc/self/root/etc/hostname", path_.c_str()), 0);
  EXPECT_FALSE(refused().starts_with("read: ")) << "the way out of a pod's root";
  EXPECT_EQ(refused(),
            path_ + " below /proc/" + std::to_string(getpid()) + "/root: No such file or directory");
}

TEST_F(ReadPodFileTest, IsLookedForInABoundedNumberOfCgroups) {
  std::ofstream(path_) << "search shop\n";
  std::filesystem::remove_all(directory_ + "/pod/container");
  EXPECT_STREQ(read().error().code, kPodEmptyCode);
  for (int i = 0; i < 200; ++i) {
    std::filesystem::create_directories(directory_ + "/pod/" + std::to_string(i) + "/a/b");
  }
  EXPECT_STREQ(read().error().code, kPodEmptyCode);
  std::filesystem::create_directories(directory_ + "/deep/a/b/c/d");
  std::ofstream(directory_ + "/deep/a/b/c/d/cgroup.procs") << getpid() << "\n";
  EXPECT_STREQ(read_pod_file(directory_ + "/deep", path_).error().code, kPodEmptyCode);
}

}  // namespace
}  // namespace hadal::net
