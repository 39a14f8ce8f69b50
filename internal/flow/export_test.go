package flow

// PortMasks splits a range of ports.
var PortMasks = portMasks
