/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the parts of the adapter know of each other: slirp.c, which is libslirp's loop and the pipe; lines.c, the
 * connections; sockets.c, the application that has them.
 */
#ifndef ADAPTER_H
#define ADAPTER_H

#include <slirp/libslirp.h>

#include "host.h"

struct tq_end;

/* ---- slirp.c ----------------------------------------------------------------------------------------------------- */

extern Slirp *nat;
extern uint8_t nat_guest[16]; /* who has sent the packet that is being looked at */

/* Wakes libslirp up until it has nothing left to do at this instant. */
void nat_pump(void);

/* Has libslirp listen on the host for connections that go on to this place of the guest's, if one waits for it: its
 * SYN is sent at once. `stays` keeps the port, which keeps libslirp's half seconds running. */
int nat_forward(struct line *line, const struct place *to, int stays);

struct place place_of(const struct tq_end *end);

/* ---- lines.c ----------------------------------------------------------------------------------------------------- */

/* The states, by the place of their names in both tables: theirs in lines.c, ours in sockets.c. */
enum { CLOSED = 0, SYN_SENT = 2, SYN_RECEIVED = 3, ESTABLISHED = 4, STATES = 11 };

extern struct line *line_first;
extern int line_count;

struct line *line_new(uint8_t family);

/* Forgets lines that neither side holds. */
void line_sweep(void);

/* Asks libslirp for the state of its connections. */
void line_look(void);

/* The line between two ends, as of now; NULL if there is none. */
struct line *line_between(const struct tq_end *local, const struct tq_end *remote);

int place_same(const struct place *one, const struct place *other);

/* ---- sockets.c --------------------------------------------------------------------------------------------------- */

/* libslirp connects to a port of the host, since a SYN has come. */
struct line *sock_dialled(int family, uint16_t port);

/* The socket commands of struct tq_stack. */
const char *sock_make(int family, uint32_t *made);
const char *sock_option(uint32_t number, const char *name, int64_t value);
const char *sock_listen(uint32_t number, const struct tq_end *local, int backlog);
const char *sock_listening(const struct tq_end *local, int *listens);
const char *sock_connect(uint32_t number, const struct tq_end *local, const struct tq_end *remote);
const char *sock_connected(uint32_t number);
const char *sock_accept(uint32_t number, uint32_t *made);
const char *sock_send(uint32_t number, int urgent, const uint8_t *octets, size_t size, uint32_t *taken);
const char *sock_recv(uint32_t number, uint8_t *octets, size_t wanted, size_t *size);
const char *sock_shutdown(uint32_t number, int half);
const char *sock_close(uint32_t number, int32_t linger_s);
const char *sock_abort(uint32_t number);
const char *sock_state(const struct tq_end *local, const struct tq_end *remote, const char **found);
const char *sock_half_open(uint16_t port, uint32_t *count);

#endif
