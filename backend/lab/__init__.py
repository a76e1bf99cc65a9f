"""The lab: real libvirt hosts with real QEMU guests in namespaces of one machine."""
