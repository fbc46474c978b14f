// Package fold spells a path or a text as tools read it that are generous about spelling:
// without regard to case, compatibility forms, escapes and trailing dots. Rules over
// paths are asked about the folded path too, or "/Admin" would be a way past a rule about
// "/admin".
package fold
