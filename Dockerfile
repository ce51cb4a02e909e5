# The default study and all that it needs, at the versions of requirements.lock:
#   make container
#   docker run --rm --user "$(id -u)" --volume "$PWD/results:/kdlm/results" kdlm
# Debian 12 has Python 3.11, for which the lock was made.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /kdlm
COPY . .
# the study writes beside itself, whichever user runs it
RUN make install && chmod a+w . results

# Snakemake asks for the name of the user, which a bare number of --user has not
ENV PATH=/kdlm/.venv/bin:$PATH HOME=/tmp USER=kdlm
CMD ["make", "study"]
