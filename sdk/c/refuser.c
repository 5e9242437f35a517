/* SPDX-License-Identifier: 0BSD
 *
 * The smallest thing to put behind the pipe: it has no sockets and answers every segment as a closed port does
 * (RFC 9293, section 3.10.7.1). Build it with `cc -std=c99 -o refuser refuser.c`, try it with
 * `tcpqual target check ./refuser`, then put your stack in its place.
 */
#define _POSIX_C_SOURCE 200809L
#include "tcpqual_pipe.h"

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

/* Adds the octets up as 16-bit numbers; `sum` is what was added up before. */
static uint32_t sum_of(const uint8_t *octets, size_t size, uint32_t sum) {
    size_t i;
    for (i = 0; i < size; i++)
        sum += i % 2 ? octets[i] : (uint32_t)octets[i] << 8;
    return sum;
}

static uint16_t checksum(uint32_t sum) {
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static uint32_t number(const uint8_t *octets) {
    return (uint32_t)octets[0] << 24 | (uint32_t)octets[1] << 16 | (uint32_t)octets[2] << 8 | octets[3];
}

static void packet(uint64_t now, const uint8_t *in, size_t size) {
    int six = in[0] >> 4 == 6, each = six ? 16 : 4;
    size_t head = six ? 40 : 20, from = six ? 8 : 12;
    const uint8_t *tcp = in + head;
    uint8_t out[60] = {0}, *reply = out + head;
    size_t length, total;
    uint32_t ack;
    (void)now;
    if (size < head + 20 || in[six ? 6 : 9] != 6 || (in[0] != 0x45 && !six))
        return; /* no TCP, or IPv4 options */
    total = six ? 40 + ((size_t)in[4] << 8 | in[5]) : ((size_t)in[2] << 8 | in[3]);
    if (total > size || total < head + 20 || (tcp[12] >> 4) < 5 || (size_t)(tcp[12] >> 4) * 4 > total - head)
        return;
    if (checksum(sum_of(in + from, 2 * (size_t)each, sum_of(tcp, total - head, 6 + (uint32_t)(total - head)))) != 0)
        return;
    if (tcp[13] & RST)
        return;
    length = total - head - (size_t)(tcp[12] >> 4) * 4 + !!(tcp[13] & SYN) + !!(tcp[13] & FIN);
    out[0] = six ? 0x60 : 0x45;
    out[six ? 5 : 3] = (uint8_t)(six ? 20 : 40);
    out[six ? 6 : 9] = 6;
    out[six ? 7 : 8] = 64;
    memcpy(out + from, in + from + each, (size_t)each);
    memcpy(out + from + each, in + from, (size_t)each);
    memcpy(reply, tcp + 2, 2);
    memcpy(reply + 2, tcp, 2);
    reply[12] = 0x50;
    if (tcp[13] & ACK) {
        memcpy(reply + 4, tcp + 8, 4);
        reply[13] = RST;
    } else {
        ack = number(tcp + 4) + (uint32_t)length;
        reply[8] = (uint8_t)(ack >> 24), reply[9] = (uint8_t)(ack >> 16);
        reply[10] = (uint8_t)(ack >> 8), reply[11] = (uint8_t)ack;
        reply[13] = RST | ACK;
    }
    ack = checksum(sum_of(out + from, 2 * (size_t)each, sum_of(reply, 20, 6 + 20)));
    reply[16] = (uint8_t)(ack >> 8), reply[17] = (uint8_t)ack;
    if (!six) {
        ack = checksum(sum_of(out, 20, 0));
        out[10] = (uint8_t)(ack >> 8), out[11] = (uint8_t)ack;
    }
    tq_send_packet(out, head + 20);
}

/* There never is a connection. */
static const char *state(const struct tq_end *local, const struct tq_end *remote, const char **found) {
    (void)local, (void)remote;
    *found = "CLOSED";
    return NULL;
}

int main(void) {
    struct tq_stack stack = {0};
    stack.name = "refuser", stack.version = "1.0", stack.features = "ipv4 ipv6";
    stack.mtu = 1500, stack.ipv4 = stack.ipv6 = 1;
    stack.packet = packet;
    stack.state = state;
    return tq_serve(&stack);
}
