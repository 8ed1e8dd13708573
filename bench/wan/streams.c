/*
 * Bare TCP streams: what the network and the kernel give, with nothing done to the bytes.
 *
 *   streams take ADDRESS PORT                 takes what comes on any number of connections, and drops it, until it is stopped
 *   streams send ADDRESS PORT FILE COUNT      sends FILE, a COUNTth on each of COUNT connections at once, and ends when all was taken
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { piece = 256 * 1024, most_streams = 64 };

static struct sockaddr_in address;

static void fail(const char *what) {
  fprintf(stderr, "streams: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *drop_all(void *argument) {
  int connection = (int)(intptr_t)argument;
  char *bytes = malloc(piece);
  if (!bytes) fail("memory");
  while (read(connection, bytes, piece) > 0);
  close(connection);  /* which tells the sender that everything is here */
  free(bytes);
  return NULL;
}

static void take(void) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, most_streams)) fail("listen");
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    pthread_t thread;
    if (connection < 0) fail("accept");
    if ((errno = pthread_create(&thread, NULL, drop_all, (void *)(intptr_t)connection))) fail("thread");
    pthread_detach(thread);
  }
}

struct stretch {
  pthread_t thread;
  int file;
  off_t from, to;
};

static void *send_stretch(void *argument) {
  struct stretch *stretch = argument;
  int connection = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(connection, (struct sockaddr *)&address, sizeof address)) fail("connect");
  while (stretch->from < stretch->to) {
    if (sendfile(connection, stretch->file, &stretch->from, (size_t)(stretch->to - stretch->from)) <= 0) fail("sendfile");
  }
  char none;
  if (shutdown(connection, SHUT_WR) || read(connection, &none, 1) != 0) fail("end");
  close(connection);
  return NULL;
}

static int send_all(const char *path, int count) {
  struct stretch stretches[most_streams];
  struct stat status;
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &status)) fail(path);
  for (int index = 0; index < count; index++) {
    stretches[index] = (struct stretch){.file = file, .from = status.st_size * index / count, .to = status.st_size * (index + 1) / count};
    if ((errno = pthread_create(&stretches[index].thread, NULL, send_stretch, &stretches[index]))) fail("thread");
  }
  for (int index = 0; index < count; index++) pthread_join(stretches[index].thread, NULL);
  return 0;
}

int main(int count, char **arguments) {
  int takes = count == 4 && strcmp(arguments[1], "take") == 0, sends = count == 6 && strcmp(arguments[1], "send") == 0;
  int streams = sends ? atoi(arguments[5]) : 1;
  if ((!takes && !sends) || streams < 1 || streams > most_streams) {
    fprintf(stderr, "usage: streams take ADDRESS PORT | streams send ADDRESS PORT FILE COUNT\n");
    return 2;
  }
  address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[3]))};
  if (inet_pton(AF_INET, arguments[2], &address.sin_addr) != 1) fail(arguments[2]);
  if (takes) take();
  return send_all(arguments[4], streams);
}
