"""This process's node of the DHT, and all that keeps it there: the daemon below it, and the nodes it knows. Nothing
else imports hivemind."""

from swarm.peers.dht.light_hivemind import prepare

prepare()
