/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * lwIP as a maker of a middle-sized device ships it: no operating system, IPv4 and IPv6, every option of TCP that lwIP
 * has, pools that do not run dry. What does not stand here has lwIP's own default, all timers and retries above all.
 */
#ifndef TCPQUAL_LWIPOPTS_H
#define TCPQUAL_LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
/* The main loop calls tcp_tmr and its like itself, as the adapter does: so ticks do not depend on who came before. */
#define LWIP_TIMERS 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0

#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define LWIP_ICMP 1
#define LWIP_ICMP6 1
#define LWIP_UDP 1
#define LWIP_RAW 0
#define LWIP_TCP 1
#define IP_REASSEMBLY 1
#define IP_FRAG 1
#define LWIP_IPV6_REASS 1
#define LWIP_IPV6_FRAG 1
/* Pointers of 8 octets do not fit where lwIP keeps them otherwise. */
#define IPV6_FRAG_COPYHEADER 1
/* Room for the fragments of a few datagrams of 64 KiB; the default holds ten fragments in all. */
#define IP_REASS_MAX_PBUFS 128

/* Packets reach the adapter without a header of the link, so there is nobody to resolve and no router to ask. */
#define LWIP_ARP 0
#define LWIP_ETHERNET 0
#define LWIP_IPV6_MLD 0
#define LWIP_IPV6_AUTOCONFIG 0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 0
#define LWIP_HAVE_LOOPIF 0
#define LWIP_NETIF_LOOPBACK 0

#define TCP_MSS 1460
/* What the SYN,ACK can say without a scale is all there is; the scale is there for what the peer offers. */
#define TCP_WND (44 * TCP_MSS)
#define TCP_SND_BUF (44 * TCP_MSS)
#define TCP_SND_QUEUELEN 512
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 1
#define LWIP_TCP_TIMESTAMPS 1
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_KEEPALIVE 1
#define TCP_LISTEN_BACKLOG 1
#define SO_REUSE 1

#define MEM_LIBC_MALLOC 1
#define MEM_ALIGNMENT 8
#define MEMP_NUM_TCP_PCB 1024
#define MEMP_NUM_TCP_PCB_LISTEN 256
#define MEMP_NUM_TCP_SEG 8192
#define MEMP_NUM_PBUF 1024
#define MEMP_NUM_REASSDATA 64
#define MEMP_NUM_FRAG_PBUF 256
#define PBUF_POOL_SIZE 2048
#define PBUF_POOL_BUFSIZE 1600

#define LWIP_STATS 0
#define LWIP_DEBUG 0

#endif
