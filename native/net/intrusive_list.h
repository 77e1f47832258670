// A doubly linked list whose links live in its elements: no allocation to enter, O(1) to leave, and an
// element that dies leaves by itself. One element can be in several lists when it inherits one ListHook per
// tag.
#pragma once

#include <cstddef>

namespace hadal::net {

template <typename Tag>
class ListHook {
 public:
  ListHook() = default;
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() { unlink(); }

  [[nodiscard]] bool linked() const { return next_ != this; }

  void unlink() {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = this;
  }

 private:
  template <typename T, typename U>
  friend class IntrusiveList;

  void insert_before(ListHook* position) {
    previous_ = position->previous_;
    next_ = position;
    previous_->next_ = this;
    position->previous_ = this;
  }

  ListHook* previous_ = this;
  ListHook* next_ = this;
};

template <typename T, typename Tag>
class IntrusiveList {
 public:
  [[nodiscard]] bool empty() const { return !head_.linked(); }
  [[nodiscard]] T* front() { return empty() ? nullptr : element(head_.next_); }

  /// Looks at no more than `count` elements.
  [[nodiscard]] bool has_more_than(size_t count) const {
    const ListHook<Tag>* hook = head_.next_;
    for (; count > 0 && hook != &head_; --count) {
      hook = hook->next_;
    }
    return hook != &head_;
  }

  void push_back(T& element) {
    ListHook<Tag>& hook = element;
    hook.unlink();
    hook.insert_before(&head_);
  }

  T* pop_front() {
    T* first = front();
    if (first != nullptr) {
      static_cast<ListHook<Tag>*>(first)->unlink();
    }
    return first;
  }

  /// Moves everything over, so that elements which come back meanwhile wait for the next round.
  void take_all(IntrusiveList& from) {
    while (T* first = from.pop_front()) {
      push_back(*first);
    }
  }

  /// `visit` may unlink or destroy the element it is given, no other.
  template <typename Visit>
  void for_each(Visit visit) {
    for (ListHook<Tag>* hook = head_.next_; hook != &head_;) {
      ListHook<Tag>* next = hook->next_;
      visit(*element(hook));
      hook = next;
    }
  }

 private:
  static T* element(ListHook<Tag>* hook) { return static_cast<T*>(hook); }

  ListHook<Tag> head_;
};

}  // namespace hadal::net
