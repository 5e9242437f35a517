/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * lwIP behind tcpqual's pipe protocol: its raw API, without an operating system, in the time that tcpqual tells.
 *
 * A socket is what an application on the raw API keeps itself: what was received and not yet read, how the connection
 * ended, who waits to be accepted. lwIP frees a control block when its connection ends, in TIME-WAIT without a word; so
 * a block is looked up in lwIP's own lists each time it is needed, by the socket that is its argument.
 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <sys/prctl.h>

#include "tcpqual_pipe.h"

#include "lwip/init.h"
#include "lwip/ip.h"
#include "lwip/ip4_frag.h"
#include "lwip/ip6_frag.h"
#include "lwip/nd6.h"
#include "lwip/netif.h"
#include "lwip/tcp.h"
#include "lwip/priv/tcp_priv.h"

#define MILLISECOND 1000000u
#define TCP_TICK (TCP_TMR_INTERVAL * (uint64_t)MILLISECOND)
#define IP_TICK (1000 * (uint64_t)MILLISECOND)
#define SOCKETS 4096
#define LONGEST 65535

struct sock {
    uint32_t number; /* 0: this place is free */
    int family;
    struct tcp_pcb *fresh;          /* not yet bound, hence in none of lwIP's lists */
    struct tcp_pcb_listen *listener;
    struct sock *next, *waiting;    /* the queue of those who wait to be accepted, and its first one */
    struct sock *accepting;         /* who listens, until it is accepted */
    struct pbuf *unread;
    const char *error;              /* what waits to be told, "" for nothing */
    int connecting, connected, ended, receive_shut, send_shut, closed, aborting;
    int nodelay, keepalive, idle_s, interval_s, probes; /* -1: not set */
};

static struct netif lab;
static uint64_t tcp_due = TCP_TICK, ip_due = IP_TICK, dice;
static int something, in_timer;
static struct sock sockets[SOCKETS];

uint32_t adapter_random(void) {
    /* splitmix64: every seed is a good one */
    uint64_t mixed = dice += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(mixed ^ mixed >> 31);
}

u32_t sys_now(void) {
    return (u32_t)(tq_now() / MILLISECOND);
}

/* ---- the link ------------------------------------------------------------------------------------------------- */

static err_t transmit(struct pbuf *p) {
    static uint8_t octets[LONGEST];
    tq_send_packet(octets, pbuf_copy_partial(p, octets, sizeof octets, 0));
    return ERR_OK;
}

static err_t transmit4(struct netif *netif, struct pbuf *p, const ip4_addr_t *to) {
    (void)netif, (void)to;
    return transmit(p);
}

static err_t transmit6(struct netif *netif, struct pbuf *p, const ip6_addr_t *to) {
    (void)netif, (void)to;
    return transmit(p);
}

static err_t prepare(struct netif *netif) {
    netif->name[0] = 't';
    netif->name[1] = 'q';
    netif->mtu = 1500;
#if LWIP_IPV6 && LWIP_ND6_ALLOW_RA_UPDATES
    netif->mtu6 = 1500;
#endif
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_LINK_UP;
    netif->output = transmit4;
    netif->output_ip6 = transmit6;
    return ERR_OK;
}

static ip_addr_t address_of(int family, const uint8_t *octets) {
    ip_addr_t address;
    memset(&address, 0, sizeof address);
    if (family == 4) {
        IP_SET_TYPE_VAL(address, IPADDR_TYPE_V4);
        memcpy(&ip_2_ip4(&address)->addr, octets, 4);
    } else {
        IP_SET_TYPE_VAL(address, IPADDR_TYPE_V6);
        memcpy(ip_2_ip6(&address)->addr, octets, 16);
    }
    return address;
}

static void begin(const struct tq_greeting *greeting) {
    ip_addr_t own = address_of(4, greeting->ipv4), gateway = address_of(4, greeting->ipv4_gateway);
    ip_addr_t own6 = address_of(6, greeting->ipv6);
    ip4_addr_t mask;
    s8_t index = 0;
    dice = greeting->seed;
    mask.addr = lwip_htonl(greeting->ipv4_prefix ? 0xffffffffu << (32 - greeting->ipv4_prefix) : 0);
    lwip_init();
    if (!netif_add(&lab, ip_2_ip4(&own), &mask, ip_2_ip4(&gateway), NULL, prepare, ip_input))
        abort();
    if (netif_add_ip6_address(&lab, ip_2_ip6(&own6), &index) != ERR_OK)
        abort();
    netif_ip6_addr_set_state(&lab, index, IP6_ADDR_PREFERRED);
    netif_set_default(&lab);
    netif_set_up(&lab);
}

static void packet(uint64_t now, const uint8_t *octets, size_t size) {
    struct pbuf *p;
    (void)now;
    if (size == 0 || size > 0xffff || !(p = pbuf_alloc(PBUF_RAW, (u16_t)size, PBUF_POOL)))
        return;
    pbuf_take(p, octets, (u16_t)size);
    if (lab.input(p, &lab) != ERR_OK)
        pbuf_free(p);
}

/* ---- time ----------------------------------------------------------------------------------------------------- */

static uint64_t deadline(void) {
    return tcp_due < ip_due ? tcp_due : ip_due;
}

static void run(uint64_t now) {
    in_timer = 1;
    if (tcp_due <= now) {
        tcp_due += TCP_TICK;
        tcp_tmr();
    }
    if (ip_due <= now) {
        ip_due += IP_TICK;
        ip_reass_tmr();
        ip6_reass_tmr();
        nd6_tmr();
    }
    in_timer = 0;
}

static int woken(void) {
    int was = something;
    something = 0;
    return was;
}

/* ---- sockets -------------------------------------------------------------------------------------------------- */

static struct sock *find(uint32_t number) {
    struct sock *s = number ? &sockets[number % SOCKETS] : NULL;
    return s && s->number == number && !s->accepting ? s : NULL;
}

static struct sock *make(int family) {
    static uint32_t last;
    int tries;
    for (tries = 0; tries < SOCKETS; tries++) {
        struct sock *s = &sockets[++last % SOCKETS];
        if (last && !s->number) {
            memset(s, 0, sizeof *s);
            s->number = last;
            s->family = family;
            s->error = "";
            s->nodelay = s->keepalive = s->idle_s = s->interval_s = s->probes = -1;
            return s;
        }
    }
    return NULL;
}

/* The control block of a socket, if lwIP has it still. */
static struct tcp_pcb *block_of(struct sock *s) {
    struct tcp_pcb *lists[3], *pcb;
    size_t i;
    if (s->fresh)
        return s->fresh;
    lists[0] = tcp_active_pcbs;
    lists[1] = tcp_tw_pcbs;
    lists[2] = tcp_bound_pcbs;
    for (i = 0; i < 3; i++)
        for (pcb = lists[i]; pcb; pcb = pcb->next)
            if (pcb->callback_arg == s)
                return pcb;
    return NULL;
}

static void forget(struct sock *s) {
    if (s->unread)
        pbuf_free(s->unread);
    s->unread = NULL;
    s->number = 0;
}

static const char *name_of(err_t error) {
    switch (error) {
    case ERR_OK: return NULL;
    case ERR_MEM: return "ENOMEM";
    case ERR_BUF: return "ENOBUFS";
    case ERR_RTE: return "ENETUNREACH";
    case ERR_USE: return "EADDRINUSE";
    case ERR_ISCONN: return "EISCONN";
    case ERR_CONN: return "ENOTCONN";
    case ERR_ABRT: return "ECONNABORTED";
    case ERR_RST: return "ECONNRESET";
    default: return "EINVAL";
    }
}

/* Tells an error once. */
static const char *told(struct sock *s) {
    const char *error = s->error;
    s->error = "";
    return *error ? error : NULL;
}

static err_t on_receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error) {
    struct sock *s = arg;
    (void)error;
    something = 1;
    if (!p) {
        s->ended = 1;
    } else if (s->closed || s->receive_shut) {
        tcp_recved(pcb, p->tot_len);
        pbuf_free(p);
    } else if (s->unread) {
        pbuf_cat(s->unread, p);
    } else {
        s->unread = p;
    }
    return ERR_OK;
}

/* lwIP has freed the control block, and says why. It says ERR_ABRT of whatever its timers end. */
static void on_error(void *arg, err_t error) {
    struct sock *s = arg;
    something = 1;
    if (s->aborting || s->closed)
        return;
    s->ended = 1;
    if (error == ERR_CLSD)
        return;
    if (error == ERR_RST)
        s->error = s->connecting ? "ECONNREFUSED" : "ECONNRESET";
    else
        s->error = in_timer ? "ETIMEDOUT" : name_of(error);
    s->connecting = 0;
    /* What was queued is lost with the connection (RFC 9293, 3.10.7.4). */
    if (s->unread)
        pbuf_free(s->unread);
    s->unread = NULL;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t error) {
    struct sock *s = arg;
    (void)pcb, (void)error;
    something = 1;
    s->connecting = 0;
    s->connected = 1;
    return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t size) {
    (void)arg, (void)pcb, (void)size;
    something = 1;
    return ERR_OK;
}

static void apply(struct sock *s, struct tcp_pcb *pcb) {
    if (s->nodelay > 0)
        tcp_nagle_disable(pcb);
    else if (s->nodelay == 0)
        tcp_nagle_enable(pcb);
    if (s->keepalive > 0)
        ip_set_option(pcb, SOF_KEEPALIVE);
    else if (s->keepalive == 0)
        ip_reset_option(pcb, SOF_KEEPALIVE);
    if (s->idle_s >= 0)
        pcb->keep_idle = 1000 * (u32_t)s->idle_s;
    if (s->interval_s >= 0)
        pcb->keep_intvl = 1000 * (u32_t)s->interval_s;
    if (s->probes >= 0)
        pcb->keep_cnt = (u32_t)s->probes;
}

static void attend(struct sock *s, struct tcp_pcb *pcb) {
    tcp_arg(pcb, s);
    tcp_recv(pcb, on_receive);
    tcp_err(pcb, on_error);
    tcp_sent(pcb, on_sent);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error) {
    struct sock *listener = arg, *s, **last;
    if (error != ERR_OK || !pcb)
        return ERR_VAL;
    s = make(listener->family);
    if (!s)
        return ERR_MEM;
    s->nodelay = listener->nodelay;
    s->keepalive = listener->keepalive;
    s->idle_s = listener->idle_s;
    s->interval_s = listener->interval_s;
    s->probes = listener->probes;
    s->connected = 1;
    s->accepting = listener;
    attend(s, pcb);
    apply(s, pcb);
    tcp_backlog_delayed(pcb);
    for (last = &listener->waiting; *last; last = &(*last)->next)
        ;
    *last = s;
    something = 1;
    return ERR_OK;
}

/* ---- the socket commands -------------------------------------------------------------------------------------- */

static const char *socket_(int family, uint32_t *made) {
    struct tcp_pcb *pcb;
    struct sock *s;
    if (family != 4 && family != 6)
        return "EPROTO";
    pcb = tcp_new_ip_type(family == 4 ? IPADDR_TYPE_V4 : IPADDR_TYPE_V6);
    if (!pcb)
        return "ENOMEM";
    s = make(family);
    if (!s) {
        tcp_abort(pcb);
        return "ENFILE";
    }
    attend(s, pcb);
    /* A port is free for a new connection while an old one is in TIME-WAIT; two listeners it does not have. */
    ip_set_option(pcb, SOF_REUSEADDR);
    s->fresh = pcb;
    *made = s->number;
    return NULL;
}

static const char *option(uint32_t number, const char *name, int64_t value) {
    struct sock *s = find(number);
    struct tcp_pcb *pcb;
    int *place;
    if (!s)
        return "EBADF";
    if (!strcmp(name, "SO_REUSEADDR"))
        return NULL;
    else if (!strcmp(name, "TCP_NODELAY"))
        place = &s->nodelay;
    else if (!strcmp(name, "SO_KEEPALIVE"))
        place = &s->keepalive;
    else if (!strcmp(name, "TCP_KEEPIDLE"))
        place = &s->idle_s;
    else if (!strcmp(name, "TCP_KEEPINTVL"))
        place = &s->interval_s;
    else if (!strcmp(name, "TCP_KEEPCNT"))
        place = &s->probes;
    else
        return "ENOPROTOOPT";
    if (value < 0 || value > 4000000)
        return "EINVAL";
    *place = (int)value;
    if ((pcb = block_of(s)) != NULL)
        apply(s, pcb);
    return NULL;
}

static const char *bind_(struct sock *s, const struct tq_end *local) {
    ip_addr_t address = address_of(local->family, local->address);
    struct tcp_pcb *pcb = s->fresh;
    err_t error;
    if (!pcb)
        return "EINVAL";
    error = tcp_bind(pcb, &address, local->port);
    if (error == ERR_OK)
        s->fresh = NULL; /* lwIP's list has it now */
    return name_of(error);
}

static const char *listen_(uint32_t number, const struct tq_end *local, int backlog) {
    struct sock *s = find(number);
    struct tcp_pcb *pcb, *listener;
    const char *error;
    err_t why = ERR_OK;
    if (!s)
        return "EBADF";
    if ((error = bind_(s, local)) != NULL)
        return error;
    pcb = block_of(s);
    listener = tcp_listen_with_backlog_and_err(pcb, (u8_t)(backlog > 255 ? 255 : backlog), &why);
    if (!listener)
        return name_of(why);
    s->listener = (struct tcp_pcb_listen *)listener;
    tcp_arg(listener, s);
    tcp_accept(listener, on_accept);
    return NULL;
}

static const char *connect_(uint32_t number, const struct tq_end *local, const struct tq_end *remote) {
    struct sock *s = find(number);
    ip_addr_t address = address_of(remote->family, remote->address);
    const char *error;
    err_t why;
    if (!s)
        return "EBADF";
    if ((error = bind_(s, local)) != NULL)
        return error;
    why = tcp_connect(block_of(s), &address, remote->port, on_connected);
    s->connecting = why == ERR_OK;
    return name_of(why);
}

static const char *connected(uint32_t number) {
    struct sock *s = find(number);
    if (!s)
        return "EBADF";
    if (*s->error)
        return told(s);
    return s->connected ? NULL : s->connecting ? "EAGAIN" : "ENOTCONN";
}

static const char *accept_(uint32_t number, uint32_t *made) {
    struct sock *s = find(number), *first;
    struct tcp_pcb *pcb;
    if (!s)
        return "EBADF";
    if (!s->listener)
        return "EINVAL";
    if (!(first = s->waiting))
        return "EAGAIN";
    s->waiting = first->next;
    first->next = first->accepting = NULL;
    if ((pcb = block_of(first)) != NULL)
        tcp_backlog_accepted(pcb);
    *made = first->number;
    return NULL;
}

static const char *send_(uint32_t number, int urgent, const uint8_t *octets, size_t size, uint32_t *taken) {
    struct sock *s = find(number);
    struct tcp_pcb *pcb;
    size_t room;
    err_t error;
    if (!s)
        return "EBADF";
    if (urgent)
        return "EOPNOTSUPP";
    if (*s->error)
        return told(s);
    pcb = s->closed || s->listener ? NULL : block_of(s);
    if (s->send_shut || (!pcb && (s->connected || s->ended)))
        return "EPIPE";
    if (!pcb || pcb == s->fresh)
        return "ENOTCONN";
    room = tcp_sndbuf(pcb);
    *taken = (uint32_t)(size < room ? size : room);
    if (*taken == 0)
        return NULL;
    error = tcp_write(pcb, octets, (u16_t)*taken, TCP_WRITE_FLAG_COPY);
    if (error == ERR_MEM) {
        *taken = 0;
        return NULL;
    }
    if (error == ERR_OK)
        tcp_output(pcb);
    return error == ERR_CONN ? "EPIPE" : name_of(error);
}

static const char *recv_(uint32_t number, uint8_t *octets, size_t room, size_t *size) {
    struct sock *s = find(number);
    struct tcp_pcb *pcb;
    if (!s)
        return "EBADF";
    if (*s->error)
        return told(s);
    if (s->unread && room > 0) {
        u16_t most = (u16_t)(room < s->unread->tot_len ? room : s->unread->tot_len);
        *size = pbuf_copy_partial(s->unread, octets, most, 0);
        s->unread = pbuf_free_header(s->unread, most);
        if ((pcb = block_of(s)) != NULL)
            tcp_recved(pcb, most);
        return NULL;
    }
    *size = 0;
    if (s->ended || s->receive_shut || room == 0)
        return NULL;
    return s->connected || s->connecting ? "EAGAIN" : "ENOTCONN";
}

static const char *shutdown_(uint32_t number, int half) {
    struct sock *s = find(number);
    struct tcp_pcb *pcb;
    err_t error;
    if (!s)
        return "EBADF";
    pcb = s->listener || s->closed ? NULL : block_of(s);
    if (!pcb || pcb == s->fresh)
        return "ENOTCONN";
    if (s->send_shut)
        half &= ~2;
    if (!half)
        return NULL;
    error = tcp_shutdown(pcb, half & 1, (half & 2) != 0);
    if (error != ERR_OK)
        return name_of(error);
    s->send_shut |= (half & 2) != 0;
    if (half & 1) {
        s->receive_shut = 1;
        if (s->unread)
            pbuf_free(s->unread);
        s->unread = NULL;
    }
    return NULL;
}

/* Those who were never accepted go with who listened. */
static const char *stop_listening(struct sock *s) {
    struct sock *each, *next;
    struct tcp_pcb *pcb;
    err_t error = tcp_close((struct tcp_pcb *)s->listener);
    s->listener = NULL;
    for (each = s->waiting; each; each = next) {
        next = each->next;
        each->aborting = 1;
        if ((pcb = block_of(each)) != NULL)
            tcp_abort(pcb);
        forget(each);
    }
    s->waiting = NULL;
    return name_of(error);
}

static const char *close_(uint32_t number, int32_t linger_s) {
    struct sock *s = find(number);
    struct tcp_pcb *pcb;
    err_t error;
    if (!s || s->closed)
        return "EBADF";
    if (linger_s >= 0)
        return "EOPNOTSUPP"; /* the raw API has no such thing */
    if (s->listener) {
        s->closed = 1;
        return stop_listening(s);
    }
    if ((pcb = block_of(s)) != NULL) {
        s->fresh = NULL;
        if ((error = tcp_close(pcb)) != ERR_OK)
            return name_of(error);
    }
    s->closed = 1;
    return NULL;
}

static const char *abort_(uint32_t number) {
    struct sock *s = find(number);
    struct tcp_pcb *pcb;
    if (!s)
        return "EBADF";
    s->aborting = 1;
    if (s->listener)
        stop_listening(s);
    else if ((pcb = block_of(s)) != NULL)
        tcp_abort(pcb);
    forget(s);
    return NULL;
}

static const char *error_(uint32_t number, const char **pending) {
    struct sock *s = find(number);
    if (!s)
        return "EBADF";
    *pending = s->error;
    s->error = "";
    return NULL;
}

/* ---- what is asked -------------------------------------------------------------------------------------------- */

static const char *state(const struct tq_end *local, const struct tq_end *remote, const char **found) {
    static const char *const names[] = {"CLOSED", "LISTEN", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
                                        "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT"};
    ip_addr_t own = address_of(local->family, local->address), other = address_of(remote->family, remote->address);
    struct tcp_pcb *lists[2], *pcb;
    size_t i;
    lists[0] = tcp_active_pcbs;
    lists[1] = tcp_tw_pcbs;
    *found = "CLOSED";
    for (i = 0; i < 2; i++)
        for (pcb = lists[i]; pcb; pcb = pcb->next)
            if (pcb->local_port == local->port && pcb->remote_port == remote->port &&
                ip_addr_cmp(&pcb->local_ip, &own) && ip_addr_cmp(&pcb->remote_ip, &other)) {
                *found = names[pcb->state];
                return NULL;
            }
    return NULL;
}

static const char *listening(const struct tq_end *local, int *listens) {
    ip_addr_t own = address_of(local->family, local->address);
    struct tcp_pcb_listen *pcb;
    *listens = 0;
    for (pcb = tcp_listen_pcbs.listen_pcbs; pcb; pcb = pcb->next)
        if (pcb->local_port == local->port && ip_addr_cmp(&pcb->local_ip, &own))
            *listens = 1;
    return NULL;
}

static const char *half_open(uint16_t port, uint32_t *count) {
    struct tcp_pcb *pcb;
    *count = 0;
    for (pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
        *count += pcb->local_port == port && pcb->state == SYN_RCVD;
    return NULL;
}

static const char *information(uint32_t number, char *text, size_t room) {
    struct sock *s = find(number);
    struct tcp_pcb *pcb;
    if (!s)
        return "EBADF";
    if (s->listener || !(pcb = block_of(s)))
        return "ENOTCONN";
    snprintf(text, room, "rto_us=%lu send_mss=%u congestion_window=%lu", pcb->rto * (TCP_SLOW_INTERVAL * 1000ul),
             (unsigned)pcb->mss, (unsigned long)pcb->cwnd);
    return NULL;
}

int main(void) {
    struct tq_stack stack;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a stack that is started for each case binds itself to who starts it */
    memset(&stack, 0, sizeof stack);
    stack.name = "lwIP";
    stack.version = LWIP_VERSION_STRING;
    stack.mtu = 1500;
    stack.ipv4 = stack.ipv6 = 1;
    stack.begin = begin;
    stack.packet = packet;
    stack.run = run;
    stack.deadline = deadline;
    stack.woken = woken;
    stack.socket = socket_;
    stack.option = option;
    stack.listen = listen_;
    stack.connect = connect_;
    stack.connected = connected;
    stack.accept = accept_;
    stack.send = send_;
    stack.recv = recv_;
    stack.shutdown = shutdown_;
    stack.close = close_;
    stack.abort = abort_;
    stack.error = error_;
    stack.state = state;
    stack.listening = listening;
    stack.half_open = half_open;
    stack.information = information;
    return tq_serve(&stack);
}
