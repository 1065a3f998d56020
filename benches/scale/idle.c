/* The least that is a worker: registers the function, asks for a job once, and sleeps until it is woken, which nobody does.
 *
 *     idle FUNCTION
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CAN_DO = 1, PRE_SLEEP = 4, GRAB_JOB = 9 };

static void request(int server, uint32_t kind, const char *body) {
    char packet[256];
    uint32_t length = strlen(body), header[2] = {htonl(kind), htonl(length)};
    memcpy(packet, "\0REQ", 4);
    memcpy(packet + 4, header, sizeof header);
    memcpy(packet + 12, body, length);
    if (write(server, packet, 12 + length) != (ssize_t)(12 + length))
        exit(1);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *port = getenv("GEARMAN_PORT");
    char answer[12];
    if (argc < 2 || !port || server < 0)
        return 1;
    address.sin_port = htons(atoi(port));
    if (connect(server, (struct sockaddr *)&address, sizeof address))
        return 1;
    request(server, CAN_DO, argv[1]);
    request(server, GRAB_JOB, "");
    if (recv(server, answer, sizeof answer, MSG_WAITALL) != sizeof answer)
        return 1;
    request(server, PRE_SLEEP, "");
    return read(server, answer, 1) < 0;
}
