package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/format"
)

type policyFmtCmd struct {
	Files []string `arg:"" optional:"" placeholder:"FILE" help:"Policy files and files of tests (default: the configured policy)."`
	Check bool     `xor:"what" help:"Change nothing; name the files that are not in order, and answer no if there are any."`
	Write bool     `xor:"what" short:"w" help:"Write the result to the file instead of printing it."`
}

// Run formats. With file names it needs no configuration, so that editors and commit
// hooks can call it.
func (p policyFmtCmd) Run(g *globals, std stdio) error {
	if len(p.Files) == 0 {
		c, err := config.Load(g.Config)
		if err != nil {
			return err
		}
		p.Files = []string{c.PolicyFile}
	}
	var wrong []error
	different := false
	for _, file := range p.Files {
		changed, err := p.format(file, std)
		if err != nil {
			wrong = append(wrong, err)
		}
		different = different || changed
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	if p.Check && different {
		return errNo
	}
	return nil
}

func (p policyFmtCmd) format(file string, std stdio) (changed bool, err error) {
	was, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	is, err := format.File(file, was)
	if err != nil {
		return false, err
	}
	changed = !bytes.Equal(was, is)
	switch {
	case p.Check || p.Write:
		if changed {
			fmt.Fprintln(std.out, file)
		}
		if p.Write && changed {
			return changed, replaceFile(file, was, is)
		}
	default:
		_, err = std.out.Write(is)
	}
	return changed, err
}
