/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first process of a virtual machine: it does what /setup says, and becomes the agent.
 *
 * /setup is a row of orders, each a letter, a length (4 octets, little-endian) and so many octets; what they are about is
 * known to the harness alone (initramfs.py):
 *   L path              load a module
 *   W path NUL text     write a text to a file, as a sysctl
 *   N message           send a netlink request to the routing socket, with the network's index in its octets
 *                       20 to 23 where these are 0
 *   E command value     an ethtool command for the network, both 4 octets
 *   P name              wait for the virtio port of this name, and have it as standard input and output
 *   X word NUL word ... become this program
 * What goes wrong is said on the console, and the machine ends.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NETWORK "eth0"
#define PORTS "/sys/class/virtio-ports"
#define PATIENCE 1000 /* of 10 ms each */
#define WORDS 16

static void fail(const char *doing, const char *what) {
    fprintf(stderr, "tcpqual: %s %s: %s\n", doing, what, errno ? strerror(errno) : "is not there");
    sync();
    reboot(RB_AUTOBOOT);
    _exit(1);
}

static void load(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST))
        fail("load", path);
    close(file);
}

static void put(const char *path, const char *text, size_t size) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, text, size) != (ssize_t)size)
        fail("write", path);
    close(file);
}

static void ask(unsigned char *message, size_t size) {
    static int routing = -1;
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[4096];
    } answer;
    unsigned index;
    errno = 0;
    for (int left = PATIENCE; (index = if_nametoindex(NETWORK)) == 0 && left > 0; left--)
        usleep(10000);
    if (index == 0)
        fail("find the network", NETWORK);
    if (routing < 0 && (routing = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) < 0)
        fail("open", "netlink");
    if (size >= 24 && memcmp(message + 20, "\0\0\0\0", 4) == 0)
        memcpy(message + 20, &index, 4);
    if (send(routing, message, size, 0) < 0 || recv(routing, &answer, sizeof answer, 0) < 0)
        fail("ask", "netlink");
    if (answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error != 0) {
        char what[32];
        errno = -answer.error.error;
        snprintf(what, sizeof what, "request %u", ((struct nlmsghdr *)message)->nlmsg_type);
        fail("set up the network,", what);
    }
}

static void set_up_card(void *command) {
    struct ifreq request = {.ifr_name = NETWORK, .ifr_data = command};
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    /* What cannot be switched off the card does not have. */
    if (any < 0 || (ioctl(any, SIOCETHTOOL, &request) != 0 && errno != EOPNOTSUPP))
        fail("set up the card", NETWORK);
    close(any);
}

/* The port's device, if there is one of that name by now. */
static int port(const char *wanted) {
    char path[512], name[128];
    struct dirent *entry;
    DIR *ports = opendir(PORTS);
    int found = -1;
    while (ports && found < 0 && (entry = readdir(ports)) != NULL) {
        snprintf(path, sizeof path, PORTS "/%s/name", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        if (fgets(name, sizeof name, file)) {
            name[strcspn(name, "\n")] = 0;
            if (strcmp(name, wanted) == 0) {
                snprintf(path, sizeof path, "/dev/%s", entry->d_name);
                found = open(path, O_RDWR);
            }
        }
        fclose(file);
    }
    if (ports)
        closedir(ports);
    return found;
}

static void have_port(const char *name) {
    int found = -1;
    for (int left = PATIENCE; (found = port(name)) < 0 && left > 0; left--)
        usleep(10000);
    if (found < 0)
        fail("find the port", name);
    if (dup2(found, 0) < 0 || dup2(found, 1) < 0 || close(found) < 0)
        fail("have the port", name);
}

static void become(char *words, size_t size) {
    char *arguments[WORDS + 1] = {0};
    int count = 0;
    for (size_t at = 0; at < size && count < WORDS; at += strlen(words + at) + 1)
        arguments[count++] = words + at;
    execv(arguments[0], arguments);
    fail("start", arguments[0]);
}

static void obey(int order, unsigned char *text, size_t size) {
    char *words = (char *)text;
    size_t first;
    switch (order) {
    case 'L':
        load(words);
        break;
    case 'W':
        first = strlen(words) + 1;
        put(words, words + first, size - first);
        break;
    case 'N':
        ask(text, size);
        break;
    case 'E':
        set_up_card(text);
        break;
    case 'P':
        have_port(words);
        break;
    case 'X':
        become(words, size);
        break;
    default:
        errno = EINVAL;
        fail("obey", "/setup");
    }
}

int main(void) {
    uint8_t head[5];
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int number = 0; console >= 0 && number < 3; number++)
        dup2(console, number);
    FILE *setup = fopen("/setup", "re");
    if (setup == NULL)
        fail("read", "/setup");
    while (fread(head, 1, sizeof head, setup) == sizeof head) {
        size_t size = head[1] | head[2] << 8 | head[3] << 16 | (size_t)head[4] << 24;
        unsigned char *text = calloc(1, size + 1);
        if (text == NULL || fread(text, 1, size, setup) != size)
            fail("read", "/setup");
        obey(head[0], text, size);
        free(text);
    }
    errno = 0;
    fail("start", "an agent");
}
