/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loaded into the process of a User-Mode Linux kernel (LD_PRELOAD): its
 * getrandom() gives a stream that follows from TCPQUAL_SEED alone, a decimal
 * number. The kernel seeds its random numbers from it, and a run repeats to
 * the octet.
 *
 * Each word is the mixed count of the words before it, so that the octets
 * depend on how many were asked for before, and on nothing else.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static const uint64_t step = 0x9e3779b97f4a7c15u;

static uint64_t mixed(uint64_t word)
{
	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
	word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
	return word ^ (word >> 31);
}

static uint64_t seed(void)
{
	const char *text = getenv("TCPQUAL_SEED");

	return mixed(text ? strtoull(text, NULL, 10) : 0);
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
	static uint64_t state;
	static int seeded;
	size_t done = 0;

	(void)flags;
	if (!seeded) {
		state = seed();
		seeded = 1;
	}
	while (done < length) {
		uint64_t word = mixed(state += step);
		size_t part = length - done;

		if (part > sizeof(word))
			part = sizeof(word);
		memcpy((char *)buffer + done, &word, part);
		done += part;
	}
	return (ssize_t)length;
}
