"""The engine: a process of its own that knows the fleet and moves its VMs."""
