package expr

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// outline spells a tree, with the names of what is not followed in angle brackets.
func outline(n *Node) string {
	var args []string
	for _, a := range n.Args {
		args = append(args, outline(a))
	}
	in := strings.Join(args, " ")
	fallible := ""
	if n.Fallible {
		fallible = "!"
	}
	switch n.Op {
	case ValueOp:
		return fmt.Sprintf("%v", n.Value)
	case FactOp:
		return n.Name
	case Entry:
		return "_"
	case Opaque:
		return fmt.Sprintf("<%s>%s", strings.Join(n.Facts, " "), fallible)
	case Call, Method:
		return fmt.Sprintf("(%s %s)%s", n.Name, in, fallible)
	}
	name := map[Op]string{And: "and", Or: "or", Not: "not", If: "if", Equal: "==", NotEqual: "!=", Less: "<", LessEqual: "<=",
		Greater: ">", GreaterEqual: ">=", In: "in", Size: "size", Exists: "exists", All: "all"}[n.Op]
	return fmt.Sprintf("(%s %s)%s", name, in, fallible)
}

type treeFacts struct {
	IP struct {
		VPN     bool   `cel:"vpn"`
		Country string `cel:"country"`
		ASN     int64  `cel:"asn"`
	} `cel:"ip"`
	User struct {
		Groups []string `cel:"groups"`
	} `cel:"user"`
}

func TestTree(t *testing.T) {
	schema, err := NewSchema(reflect.TypeFor[treeFacts]())
	if err != nil {
		t.Fatal(err)
	}
	env, err := NewEnv(Config{Facts: schema, Lists: map[string]List{"l": {Strings: []string{"a", "b"}}, "n": {Ints: []int64{1}}}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`ip.vpn && !(ip.country == "US")`:                        `(and ip.vpn (not (== ip.country US)))`,
		`ip.asn > 24 * 14`:                                       `(> ip.asn 336)`,
		`ip.asn > 24 * 9000000000000000`:                         `(> ip.asn <>!)!`,
		`ip.vpn ? ip.asn > -5 : false`:                           `(if ip.vpn (> ip.asn -5) false)`,
		`ip.country in lists.l || ip.asn in [1, 2]`:              `(or (in ip.country [a b]) (in ip.asn [1 2]))`,
		`ip.asn in lists.n`:                                      `(in ip.asn [1])`,
		`size(user.groups) >= 2`:                                 `(>= (size user.groups) 2)`,
		`user.groups == []`:                                      `(== user.groups [])`,
		`duration("90m") > duration("1h")`:                       `(> 1h30m0s 1h0m0s)`,
		`ip.country.lowerAscii().startsWith("u")`:                `(startsWith (lowerAscii ip.country) u)`,
		`user.groups.exists(g, g in lists.l || g.endsWith("x"))`: `(exists user.groups (or (in _ [a b]) (endsWith _ x)))`,
		`user.groups.all(g, g != ip.country)`:                    `(all user.groups (!= _ ip.country))`,
		`user.groups.exists_one(g, g == "a")`:                    `<user.groups>!`,
		`user.groups[0] == "a"`:                                  `(== <user.groups>! a)!`,
		`ip.asn * 2 > 5`:                                         `(> <ip.asn>! 5)!`,
		`ip.country + "x" == "USx"`:                              `(== <ip.country> USx)`,
		`user.groups.exists(g, ["x", "y"].exists(h, g == h))`:    `(exists user.groups <>)`,
	} {
		p, problems := env.Compile(text)
		if p == nil {
			t.Fatalf("%s: %v", text, problems)
		}
		if got := outline(p.Tree()); got != want {
			t.Errorf("%s\n is %s\nnot %s", text, got, want)
		}
	}
}
