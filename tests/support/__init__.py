"""What tests share: servers, disks, clocks, oracles, and runs to work on."""
