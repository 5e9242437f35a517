# SPDX-License-Identifier: GPL-2.0-or-later
# tcpqual with what the targets of its own making need: docker build -t tcpqual . && docker run --rm tcpqual
#
# It runs as a user without rights. docs/how-to/run-in-ci.md says which rights which target takes, and why.
# apt's lists stay in the image: `tcpqual target build`, `vm fetch` and `kernel build` download by them, and this user
# could not fetch them.
FROM debian:bookworm-slim

RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends \
        bc bison ca-certificates dpkg-dev flex gcc git libc6-dev make python3-venv qemu-system-x86 tshark \
    && useradd --create-home --uid 1000 tcpqual \
    && install -d -o tcpqual -g tcpqual /home/tcpqual/reports /home/tcpqual/.cache /home/tcpqual/.cache/tcpqual

COPY . /opt/tcpqual
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir /opt/tcpqual \
    && ln -s /opt/venv/bin/tcpqual /usr/local/bin/tcpqual

USER tcpqual
WORKDIR /home/tcpqual
ENTRYPOINT ["tcpqual"]
CMD ["run", "--target", "model", "--ci"]
