"""The only rooms that import libvirt: lanes, events, statistics, domains, hosts, migrations."""
