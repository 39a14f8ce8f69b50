package flow

// PortMasks splits a range of ports.
var PortMasks = portMasks

// LookScript looks at a host.
var LookScript = lookScript

// ReplaceScript replaces the rules of a bridge.
var ReplaceScript = replaceScript
