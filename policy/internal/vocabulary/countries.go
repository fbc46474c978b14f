package vocabulary

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/language"

	"sallyport/policy/internal/file"
)

// countryCodes are the officially assigned codes of ISO 3166-1 alpha-2, and behind them
// the ones that the facts have besides: Kosovo, unknown. What old IP databases say of
// regions (EU, AP) is read as unknown.
var countryCodes = strings.Fields("AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR " +
	"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP " +
	"KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ " +
	"NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW " +
	"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
	"UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW " +
	"XK ZZ")

// otherCountryCodes are what people write who do not have ISO's table in front of them.
var otherCountryCodes = map[string]string{"UK": "GB", "XX": "ZZ", "EL": "GR", "DPRK": "KP", "ROK": "KR", "UAE": "AE",
	"NORTH KOREA": "KP", "SOUTH KOREA": "KR", "IRAN": "IR", "SYRIA": "SY", "CUBA": "CU", "UNITED STATES": "US", "UNITED STATES OF AMERICA": "US", "AMERICA": "US", "U.S.": "US", "U.S.A.": "US", "UNITED KINGDOM": "GB", "GREAT BRITAIN": "GB", "ENGLAND": "GB",
	"U.K.": "GB", "GERMANY": "DE", "FRANCE": "FR", "SPAIN": "ES", "ITALY": "IT", "NETHERLANDS": "NL", "SWITZERLAND": "CH", "AUSTRIA": "AT", "POLAND": "PL", "UKRAINE": "UA", "TURKEY": "TR", "ISRAEL": "IL",
	"INDIA": "IN", "PAKISTAN": "PK", "JAPAN": "JP", "SINGAPORE": "SG", "HONG KONG": "HK", "TAIWAN": "TW", "VIETNAM": "VN", "CANADA": "CA", "MEXICO": "MX", "BRAZIL": "BR", "VENEZUELA": "VE", "NIGERIA": "NG",
	"AUSTRALIA": "AU", "RUSSIA": "RU", "BELARUS": "BY", "CHINA": "CN"}

// regions are what is no country and stands for several, with how to say them.
var regions = map[string]string{
	"EU": "a list of its members, since the facts name countries: lists: {eu: [AT, BE, BG, CY, CZ, DE, DK, EE, ES, FI, FR, GR, HR, HU, " +
		"IE, IT, LT, LU, LV, MT, NL, PL, PT, RO, SE, SI, SK]}, and `in lists.eu`",
	"AP": `a list of countries, since what old IP data calls Asia/Pacific is not known ("ZZ") here`,
}

func checkCountry(subject, value string) *file.Diagnostic {
	if slices.Contains(countryCodes, value) {
		return nil
	}
	d := &file.Diagnostic{Message: fmt.Sprintf("%s is never %q", subject, value),
		Expected: `an ISO 3166-1 alpha-2 code in upper case such as "US"; "ZZ" is unknown`}
	upper := strings.ToUpper(value)
	if expected := regions[upper]; expected != "" {
		d.Expected = expected
	} else if other := otherCountryCodes[upper]; other != "" {
		d.Suggestion = other
	} else if slices.Contains(countryCodes, upper) {
		d.Suggestion = upper
	} else if r, err := language.ParseRegion(upper); err == nil && len(upper) == 3 && slices.Contains(countryCodes, r.String()) {
		d.Suggestion = r.String() // alpha-3
	}
	return d
}

// regionNames are the subdivisions that policies are about because they are embargoed, by
// the names that people have for them.
var regionNames = map[string]string{"CRIMEA": "UA-43", "SEVASTOPOL": "UA-40", "DONETSK": "UA-14", "LUHANSK": "UA-09", "LUGANSK": "UA-09"}

// subdivisionMeant reads "ua-43", "UA43", "UA_43" and "Crimea".
func subdivisionMeant(value string) string {
	upper := strings.ReplaceAll(strings.ToUpper(strings.TrimSpace(value)), "_", "-")
	if code := regionNames[upper]; code != "" {
		return code
	}
	if len(upper) > 2 && len(upper) <= 5 && slices.Contains(countryCodes, upper[:2]) && !strings.Contains(upper, "-") {
		return upper[:2] + "-" + upper[2:]
	}
	return upper
}
