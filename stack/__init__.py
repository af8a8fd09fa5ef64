"""The whole suite on one machine: real servers from wheels, our services, a supervisor, `crown`."""
