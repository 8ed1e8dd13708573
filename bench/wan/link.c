/*
 * A wide-area link between two network namespaces: delay, rate, a finite queue and random loss, for kernels without netem.
 *
 *   link NAMESPACE NAMESPACE ROUND_TRIP_MS RATE_MBIT LOSS_PERCENT
 *
 * Makes a TUN device, wan0, in each namespace, which whoever started it gives an address. Says "ready" once both are there; on SIGTERM or
 * SIGINT it tells what each direction has seen, and ends. Loss is for each direction, the round trip is shared evenly by both.
 *
 * Each direction is one thread and one list of packets on the way, which is in order of time since no packet overtakes another:
 * a packet goes through the bottleneck when those before it have, and arrives half a round trip later. What would have to wait at the
 * bottleneck for more than a round trip, that is behind one product of bandwidth and delay, is dropped: the queue's tail.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
  largest_packet = 1500,
  framing = 38,          /* what Ethernet adds to each packet: header, checksum, preamble, gap */
  at_a_time = 64,        /* packets taken before those that are due go out */
  nap = 100 * 1000,      /* ns; a card that gathers its interrupts is as late */
  shortest_nap = 20 * 1000
};

struct packet {
  struct packet *next;
  int64_t due;           /* when it arrives, in ns */
  size_t length;
  unsigned char bytes[largest_packet];
};

struct direction {
  int from, to;
  struct packet *first, *last;
  struct packet *spare;  /* used ones, the latest on top: it is still in the processor's cache */
  int64_t free_from;     /* when the bottleneck is through with all that it took, in ns */
  uint64_t chance;
  uint64_t carried, overflowed, lost, refused;
  int64_t latest;        /* the most that a packet was behind its time, in ns */
};

static int64_t one_way, longest_wait;  /* ns */
static double ns_per_byte;
static uint64_t loss;                  /* of 2^64 */
static struct direction directions[2];

static void fail(const char *what) {
  fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* xorshift64*: good enough to throw dice for packets, and alike in each run */
static uint64_t throw_dice(struct direction *way) {
  way->chance ^= way->chance >> 12;
  way->chance ^= way->chance << 25;
  way->chance ^= way->chance >> 27;
  return way->chance * UINT64_C(0x2545f4914f6cdd1d);
}

static struct packet *blank(struct direction *way) {
  struct packet *packet = way->spare;
  if (packet) way->spare = packet->next;
  else if (!(packet = malloc(sizeof *packet))) fail("memory");
  return packet;
}

static void done_with(struct direction *way, struct packet *packet) {
  packet->next = way->spare;
  way->spare = packet;
}

/* Sends a packet on its way, or drops it. */
static void admit(struct direction *way, struct packet *packet, int64_t time) {
  int64_t wait = way->free_from > time ? way->free_from - time : 0;
  if (wait > longest_wait) {
    way->overflowed++;
    return done_with(way, packet);
  }
  way->free_from = time + wait + (int64_t)((double)(packet->length + framing) * ns_per_byte);
  /* Lost behind the bottleneck: it has taken its time there. */
  if (loss && throw_dice(way) < loss) {
    way->lost++;
    return done_with(way, packet);
  }
  packet->due = way->free_from + one_way;
  packet->next = NULL;
  if (way->first) way->last->next = packet;
  else way->first = packet;
  way->last = packet;
}

/* Takes what the near side has sent. Returns whether there may be more. */
static int take(struct direction *way) {
  int64_t time = now();
  for (int count = 0; count < at_a_time; count++) {
    struct packet *packet = blank(way);
    ssize_t length = read(way->from, packet->bytes, largest_packet);
    if (length <= 0) {
      done_with(way, packet);
      return 0;
    }
    packet->length = (size_t)length;
    admit(way, packet, time);
  }
  return 1;
}

/* Hands over what has arrived at the far side. */
static void hand_over(struct direction *way) {
  int64_t time = now();
  for (struct packet *packet; (packet = way->first) && packet->due <= time; done_with(way, packet)) {
    way->first = packet->next;
    if (time - packet->due > way->latest) way->latest = time - packet->due;
    if (write(way->to, packet->bytes, packet->length) == (ssize_t)packet->length) way->carried++;
    else way->refused++;
  }
}

static void *carry(void *argument) {
  struct direction *way = argument;
  prctl(PR_SET_TIMERSLACK, 1UL);
  /* A link does not wait for those who use it. Both are for this thread only, and the second is for where the first is not permitted. */
  if (pthread_setschedparam(pthread_self(), SCHED_RR, &(struct sched_param){.sched_priority = 1})) setpriority(PRIO_PROCESS, 0, -15);
  for (;;) {
    int more = take(way);
    hand_over(way);
    if (more) continue;
    if (!way->first) {
      poll(&(struct pollfd){.fd = way->from, .events = POLLIN}, 1, -1);
      continue;
    }
    int64_t left = way->first->due - now();
    nanosleep(&(struct timespec){.tv_nsec = left > nap ? nap : left < shortest_nap ? shortest_nap : left}, NULL);
  }
  return NULL;
}

/* A TUN device in a namespace. The caller stays in its own. */
static int device_in(const char *namespace) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", namespace);
  int home = open("/proc/self/ns/net", O_RDONLY), other = open(path, O_RDONLY);
  if (home < 0 || other < 0 || setns(other, CLONE_NEWNET)) fail(path);
  int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (device < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_name = "wan0", .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_NAPI};
  if (ioctl(device, TUNSETIFF, &request)) fail("wan0");
  if (setns(home, CLONE_NEWNET)) fail("back from the namespace");
  close(home);
  close(other);
  return device;
}

int main(int count, char **arguments) {
  if (count != 6) {
    fprintf(stderr, "usage: link NAMESPACE NAMESPACE ROUND_TRIP_MS RATE_MBIT LOSS_PERCENT\n");
    return 2;
  }
  longest_wait = (int64_t)(atof(arguments[3]) * 1e6);
  one_way = longest_wait / 2;
  ns_per_byte = 8e3 / atof(arguments[4]);
  loss = (uint64_t)(atof(arguments[5]) / 100 * 0x1p64);

  prctl(PR_SET_PDEATHSIG, SIGTERM);  /* the link is gone with whoever wanted it */
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, NULL);

  int near = device_in(arguments[1]), far = device_in(arguments[2]);
  directions[0] = (struct direction){.from = near, .to = far, .chance = 1};
  directions[1] = (struct direction){.from = far, .to = near, .chance = 2};
  for (int way = 0; way < 2; way++) {
    pthread_t thread;
    if ((errno = pthread_create(&thread, NULL, carry, &directions[way]))) fail("thread");
  }
  puts("ready");
  fflush(stdout);
  int signal;
  sigwait(&ends, &signal);
  for (int way = 0; way < 2; way++) {
    struct direction *seen = &directions[way];
    printf("%s: %llu packets carried, %llu dropped by the queue, %llu lost, %llu refused, at most %.1f ms late\n", way ? "back" : "there",
           (unsigned long long)seen->carried, (unsigned long long)seen->overflowed, (unsigned long long)seen->lost,
           (unsigned long long)seen->refused, (double)seen->latest / 1e6);
  }
  return 0;
}
