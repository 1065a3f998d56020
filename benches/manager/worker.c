/* The lightest of workers: says when it has begun, registers a function if it is asked to, and waits.
 *
 *     worker FIFO idle      begins and sleeps
 *     worker FIFO gearman   the same, registered at GEARMAN_HOST and GEARMAN_PORT
 *     worker FIFO loud      the same, and writes lines to standard output as fast as it goes once the file FIFO.loud is there
 *
 * What it says is a record of 16 bytes: its id, what (0 it has begun, 1 it is registered), CLOCK_MONOTONIC in nanoseconds. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct record {
    int32_t pid, what;
    int64_t nanos;
};

static struct record now(int what)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    struct record it = {getpid(), what, t.tv_sec * INT64_C(1000000000) + t.tv_nsec};
    return it;
}

static void all(int ok)
{
    if (!ok)
        exit(1);
}

static int registered(void)
{
    static const char can_do[] = "\0REQ\0\0\0\1\0\0\0\5bench", echo[] = "\0REQ\0\0\0\20\0\0\0\0", sleeps[] = "\0REQ\0\0\0\4\0\0\0\0";
    struct sockaddr_in to = {.sin_family = AF_INET};
    const char *host = getenv("GEARMAN_HOST"), *port = getenv("GEARMAN_PORT");
    all(host && port && inet_pton(AF_INET, host, &to.sin_addr) == 1);
    to.sin_port = htons(atoi(port));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    all(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    char out[64], in[64];
    int length = 0;
    memcpy(out, can_do, 17), length += 17;
    memcpy(out + length, echo, 12), length += 12;
    memcpy(out + length, sleeps, 12), length += 12;
    all(write(fd, out, length) == length);
    for (length = 0; length < 12;) {
        int got = read(fd, in, sizeof in);
        all(got > 0);
        length += got;
    }
    return fd;
}

int main(int argc, char **argv)
{
    struct record begun = now(0);
    all(argc == 3);
    int fifo = open(argv[1], O_WRONLY);
    all(write(fifo, &begun, sizeof begun) == sizeof begun);
    int fd = -1;
    /* supervisord has no server to register at */
    if (strcmp(argv[2], "idle") && getenv("GEARMAN_HOST")) {
        fd = registered();
        struct record done = now(1);
        all(write(fifo, &done, sizeof done) == sizeof done);
    }
    if (!strcmp(argv[2], "loud")) {
        char go[4096], block[32 * 1024];
        snprintf(go, sizeof go, "%s.loud", argv[1]);
        for (unsigned i = 0; i < sizeof block; i++)
            block[i] = i % 128 == 127 ? '\n' : 'x';
        while (access(go, F_OK))
            usleep(1000);
        while (write(1, block, sizeof block) > 0)
            ;
    }
    char byte;
    if (fd >= 0)
        while (read(fd, &byte, 1) > 0)
            ;
    else
        pause();
    return 0;
}
