/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gate of a virtual machine whose clock skips idle time: it lets the machine run up to an instant, and stops it.
 *
 *     gate PROGRAM WORD ...
 *
 * Standard input and output are the virtio port; PROGRAM is the agent, whose words pass through here. The machine stands
 * still whenever the harness has the turn. It then says, all numbers little-endian: the instant up to which the machine
 * may run (8 octets, nanoseconds of CLOCK_REALTIME, 0: now), how many frames it gives to the network card (4), how many
 * octets follow for the agent (4), and these. The machine runs until it has sent a frame, or the agent has
 * spoken, or that instant has come; then this says when that is (8), when the first of the harness's frames came (8, 0: none
 * did), how many octets of frames (4) and of the agent (4) follow, and these, each frame with its instant (8) and its
 * length (4) before it. Then the harness stops the machine.
 *
 * While the harness is to act, here nobody sleeps, or the clock would skip to the next timer before it has acted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DELAY_PORT 0x80
#define LONGEST (1 << 20)
#define FRAME 65536
#define BUFFER (16 << 20)
#define SECOND 1000000000ull
#define PATIENCE (20 * 1000000ull) /* for frames that the card or the kernel has thrown away, in nanoseconds */

struct request {
    uint64_t until;
    uint32_t frames, octets;
} __attribute__((packed));

struct report {
    uint64_t now, came;
    uint32_t frames, octets;
} __attribute__((packed));

struct head {
    uint64_t stamp;
    uint32_t size;
} __attribute__((packed));

static int agent, outgoing, incoming;
static uint8_t frames[LONGEST], words[LONGEST];
static uint32_t frames_size, words_size;

static void fail(const char *doing) {
    FILE *console = fopen("/dev/console", "w");
    if (console) {
        fprintf(console, "tcpqual: gate: %s: %s\n", doing, strerror(errno));
        fclose(console);
    }
    reboot(RB_AUTOBOOT);
    _exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* Let real time pass, and next to none of the machine's: a look at a device takes long for what it counts. */
static void linger(void) {
    static uint8_t nothing[1000];
    insb(DELAY_PORT, nothing, sizeof nothing);
    sched_yield();
}

static void take(void *octets, size_t size) {
    for (uint8_t *at = octets; size > 0;) {
        struct pollfd port = {.fd = 0, .events = POLLIN};
        if (poll(&port, 1, 0) <= 0) {
            linger();
            continue;
        }
        ssize_t taken = read(0, at, size);
        if (taken <= 0)
            fail("read");
        at += taken;
        size -= taken;
    }
}

static void give(int file, const void *octets, size_t size) {
    for (const uint8_t *at = octets; size > 0;) {
        ssize_t given = write(file, at, size);
        if (given <= 0)
            fail("write");
        at += given;
        size -= given;
    }
}

/* A socket that sees what goes out, or what comes in; of these, an octet each. */
static int tap(int wanted_out) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, wanted_out ? 0 : 1, wanted_out ? 1 : 0),
        BPF_STMT(BPF_RET | BPF_K, wanted_out ? FRAME : 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog filter = {.len = 4, .filter = program};
    int buffer = BUFFER, one = 1;
    int made = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_ll all = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    if (made < 0 || setsockopt(made, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0 ||
        setsockopt(made, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0 ||
        setsockopt(made, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) != 0)
        fail("open a tap");
    all.sll_ifindex = if_nametoindex("eth0");
    if (bind(made, (struct sockaddr *)&all, sizeof all) != 0)
        fail("bind a tap");
    return made;
}

static int see(int file, uint8_t *octets, size_t room, struct head *head) {
    char control[64];
    struct iovec where = {.iov_base = octets, .iov_len = room};
    struct msghdr message = {.msg_iov = &where, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t size = recvmsg(file, &message, MSG_DONTWAIT);
    if (size < 0)
        return 0;
    struct cmsghdr *stamp = CMSG_FIRSTHDR(&message);
    head->size = size;
    head->stamp = 0;
    if (stamp && stamp->cmsg_level == SOL_SOCKET && stamp->cmsg_type == SCM_TIMESTAMPNS) {
        struct timespec time;
        memcpy(&time, CMSG_DATA(stamp), sizeof time);
        head->stamp = time.tv_sec * SECOND + time.tv_nsec;
    }
    return 1;
}

static void hear(void) {
    struct head head;
    while (frames_size + sizeof head + FRAME <= LONGEST &&
           see(outgoing, frames + frames_size + sizeof head, FRAME, &head)) {
        memcpy(frames + frames_size, &head, sizeof head);
        frames_size += sizeof head + head.size;
    }
    ssize_t size = recv(agent, words + words_size, LONGEST - words_size, MSG_DONTWAIT);
    if (size > 0)
        words_size += size;
    else if (size == 0)
        fail("the agent");
}

/* Returns when the first of them came. */
static uint64_t await_frames(uint32_t wanted) {
    uint64_t until = now() + PATIENCE, came = 0;
    uint32_t seen = 0;
    while (seen < wanted && now() < until) {
        struct head head;
        uint8_t octet;
        int count = 0;
        for (; see(incoming, &octet, 1, &head); count++)
            came = came ? came : head.stamp;
        struct tpacket_stats lost;
        socklen_t size = sizeof lost;
        if (getsockopt(incoming, SOL_PACKET, PACKET_STATISTICS, &lost, &size) == 0)
            seen += lost.tp_drops;
        seen += count;
        if (count)
            until = now() + PATIENCE;
        else
            linger();
    }
    return came;
}

static void run_until(uint64_t until) {
    for (;;) {
        hear();
        uint64_t present = now();
        if (frames_size || words_size || present >= until)
            return;
        struct pollfd any[] = {{.fd = agent, .events = POLLIN}, {.fd = outgoing, .events = POLLIN}};
        struct timespec left = {.tv_sec = (until - present) / SECOND, .tv_nsec = (until - present) % SECOND};
        ppoll(any, 2, &left, NULL);
    }
}

static void start(char **words) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        fail("make a pair");
    agent = ends[0];
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 0);
        dup2(ends[1], 1);
        execv(words[0], words);
        fail("start");
    }
    close(ends[1]);
}

int main(int count, char **arguments) {
    (void)count;
    prctl(PR_SET_TIMERSLACK, 1);
    if (ioperm(DELAY_PORT, 1, 1) != 0)
        fail("ioperm");
    outgoing = tap(1);
    incoming = tap(0);
    start(arguments + 1);
    uint64_t came = 0;
    for (;;) {
        struct request request;
        struct report report = {.now = now(), .came = came, .frames = frames_size, .octets = words_size};
        give(1, &report, sizeof report);
        give(1, frames, frames_size);
        give(1, words, words_size);
        frames_size = words_size = 0;
        take(&request, sizeof request);
        if (request.octets > LONGEST)
            fail("understand");
        take(words, request.octets);
        came = await_frames(request.frames);
        give(agent, words, request.octets);
        run_until(request.until);
    }
}
