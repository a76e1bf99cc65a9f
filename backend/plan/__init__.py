"""What would happen: pure, no I/O, no clock, no libvirt."""
