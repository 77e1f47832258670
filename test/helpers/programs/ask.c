/* Looks a name up as an application does, by whichever libc it is built with; prints each address on a line.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char** argv) {
  struct addrinfo hints, *found, *each;
  int error;

  memset(&hints, 0, sizeof(hints));
  hints.ai_socktype = SOCK_STREAM;
  error = getaddrinfo(argc > 1 ? argv[1] : "", NULL, &hints, &found);
  if (error != 0) {
    printf("%s\n", gai_strerror(error));
    return 0;
  }
  for (each = found; each != NULL; each = each->ai_next) {
    char text[64];
    if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0)
      puts(text);
  }
  return 0;
}
