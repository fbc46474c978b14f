// Package fold spells a path or a text as tools read it that are generous about spelling:
// without regard to case, compatibility forms, escapes and trailing dots. Rules over
// paths are asked about the folded path too, or "/Admin" would be a way past a rule about
// "/admin".
//
// It is not for forwarding: tools get the path as the client sent it. It does not fail:
// text that cannot be decoded stays as it is.
package fold
