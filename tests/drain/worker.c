/* The same worker on libgearman, in C.
 *
 *     cc worker.c -lgearman && ./a.out FUNCTION [START-UP [AFTER]]
 *
 * START-UP is how many milliseconds it takes until it connects, AFTER how many it goes on after a result; 0 and 100 if not given.
 */
#include <fcntl.h>
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int done;

static void note(const char *verb, int number) {
    char line[64];
    int length = snprintf(line, sizeof line, "%s %d\n", verb, number);
    int file = open("notes", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || write(file, line, length) != length)
        exit(1);
    close(file);
}

static void take(int milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static void *work(gearman_job_st *job, void *context, size_t *size, gearman_return_t *result) {
    char workload[64] = "";
    size_t length = gearman_job_workload_size(job);
    int milliseconds;
    (void)context;
    if (length >= sizeof workload)
        exit(1);
    memcpy(workload, gearman_job_workload(job), length);
    if (sscanf(workload, "%d %d", &done, &milliseconds) != 2)
        exit(1);
    note("begin", done);
    take(milliseconds);
    note("end", done);
    *size = 0;
    *result = GEARMAN_SUCCESS;
    return NULL;
}

int main(int argc, char **argv) {
    gearman_worker_st *worker = gearman_worker_create(NULL);
    const char *host = getenv("GEARMAN_HOST"), *port = getenv("GEARMAN_PORT");
    take(argc > 2 ? atoi(argv[2]) : 0);
    if (argc < 2 || !worker || !host || !port)
        return 1;
    if (gearman_failed(gearman_worker_add_server(worker, host, atoi(port))))
        return 1;
    if (gearman_failed(gearman_worker_add_function(worker, argv[1], 0, work, NULL)))
        return 1;
    while (!gearman_failed(gearman_worker_work(worker))) {
        take(argc > 3 ? atoi(argv[3]) : 100);
        note("tail", done);
    }
    fprintf(stderr, "%s\n", gearman_worker_error(worker));
    return 1;
}
