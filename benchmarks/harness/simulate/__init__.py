"""A discrete-event swarm in which routes are chosen by the code that clients use. Pure, and seeded."""
