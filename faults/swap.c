/*
 * Keeps exchanging two names until SIGTERM, then says how often it did: a directory and a symbolic link that leads elsewhere.
 *
 *   swap NAME NAME
 *
 * Between two exchanges it waits for a moment, long or short by chance, so that there is an exchange in the middle of whatever somebody
 * else does with one of these names, and not only between.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

static volatile sig_atomic_t over;

static void stop(int signal) {
  (void)signal;
  over = 1;
}

int main(int count, char **words) {
  uint64_t chance = 88172645463325252u;
  long swaps = 0;
  if (count != 3) return 2;
  signal(SIGTERM, stop);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  while (!over) {
    struct timespec moment = {0, 0};
    if (renameat2(AT_FDCWD, words[1], AT_FDCWD, words[2], RENAME_EXCHANGE) != 0) {
      fprintf(stderr, "swap: %s\n", strerror(errno));
      return 1;
    }
    swaps++;
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    moment.tv_nsec = (long)(chance % 200000);
    nanosleep(&moment, NULL);
  }
  printf("%ld\n", swaps);
  return 0;
}
